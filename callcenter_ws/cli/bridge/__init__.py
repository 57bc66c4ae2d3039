"""The commands of ``callcenter-ws bridge``, for the person who connects a telephone exchange."""
