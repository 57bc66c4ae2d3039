/* A client's socket: sending on it and closing it. */

#ifndef LOADER_SOCKET_H
#define LOADER_SOCKET_H

#include <sys/types.h>

#include "loader_group.h"

/* Send bytes, with TLS if the client uses it. */
ssize_t send_bytes(struct client *c, const char *data, size_t size);

/* Send one frame. */
void send_frame(struct client *c, int opcode, const char *text, size_t size);

/* Close the socket; the client's state is the caller's business. */
void close_socket(struct client *c);

/* Close the socket of a client that failed, count it as lost, and keep the reason if it is the group's first. */
void fail(struct client *c, const char *format, ...);

#endif
