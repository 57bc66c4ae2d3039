/* permessage-deflate (RFC 7692). */

#ifndef LOADER_DEFLATE_H
#define LOADER_DEFLATE_H

#include "loader_group.h"

/* Inflate and handle one complete compressed message. */
void handle_compressed(struct client *c, const char *data, size_t size, int64_t now);

#endif
