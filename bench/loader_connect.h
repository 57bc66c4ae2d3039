/* Connecting the clients of a group. */

#ifndef LOADER_CONNECT_H
#define LOADER_CONNECT_H

#include "loader_group.h"

/* The key of the example in RFC 6455 section 1.3, which every handshake sends. */
#define WEBSOCKET_KEY "dGhlIHNhbXBsZSBub25jZQ=="

/* The epoll instance that watches all sockets. */
extern int poller;

/* Connect clients until max_pending handshakes are in progress or all clients are connecting. */
void connect_more(struct group *g);

/* Continue with a client whose socket is ready. */
void socket_ready(struct client *c);

#endif
