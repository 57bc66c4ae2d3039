/* WebSocket frames (RFC 6455 section 5.2). */

#ifndef LOADER_FRAME_H
#define LOADER_FRAME_H

#include "loader_group.h"

/* Handle bytes that arrived after the opening handshake. */
void receive_frames(struct client *c, const char *data, size_t size, int64_t now);

#endif
