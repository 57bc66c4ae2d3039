/* The messages of a server: events and control messages. */

#ifndef LOADER_MESSAGE_H
#define LOADER_MESSAGE_H

#include "loader_group.h"

/* Check and count a message of SIZE bytes, of which TEXT holds the first SHOWN. */
void handle_message(struct client *c, const char *text, size_t shown, uint64_t size, int64_t now);

#endif
