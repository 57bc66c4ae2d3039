/* The NATS client protocol within WebSocket frames. */

#ifndef LOADER_NATS_H
#define LOADER_NATS_H

#include "loader_group.h"

/* Subscribe to the group's subject; PONG answers once the subscription is in force. */
void nats_subscribe(struct client *c);

/* Handle part of the stream. */
void nats_receive(struct client *c, const char *data, size_t size, int64_t now);

#endif
