/* Several messages in one frame, one a line. */

#ifndef LOADER_LINES_H
#define LOADER_LINES_H

#include "loader_group.h"

/* Handle part of a frame's payload; LAST: the message's final fragment ends with it. */
void lines_receive(struct client *c, const char *data, size_t size, bool last, int64_t now);

#endif
