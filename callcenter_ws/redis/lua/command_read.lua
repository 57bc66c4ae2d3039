-- Return {record, state} of a command; both are nil if there is none. ARGV: 1 its field.

return {read_command(ARGV[1])}
