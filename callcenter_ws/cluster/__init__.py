"""One node or many: who is connected where, which nodes there are, and control messages to all of them."""
