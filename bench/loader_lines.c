/* Messages that share a frame, one a line, as the write pump of gorilla's chat example joins what has piled up. Such a
   frame may come in fragments; the last one ends a line, too. */

#include "loader.h"

#include <string.h>

static void keep(struct client *c, const char *data, size_t size) {
    size_t kept = size < HEAD - c->held_size ? size : HEAD - c->held_size;
    memcpy(c->held + c->held_size, data, kept);
    c->held_size += kept;
    c->message_size += size;
}

static void take_kept(struct client *c, int64_t now) {
    if (c->message_size) take_message(c, c->held, c->held_size, c->message_size, now);
    c->held_size = 0;
    c->message_size = 0;
}

void lines_take(struct client *c, const char *data, size_t size, bool last, int64_t now) {
    const char *end = data + size, *found;
    while (c->state == OPEN && data < end && (found = memchr(data, '\n', end - data))) {
        if (c->message_size) {
            keep(c, data, found - data);
            take_kept(c, now);
        } else {
            take_message(c, data, found - data, found - data, now);
        }
        data = found + 1;
    }
    keep(c, data, end - data);
    if (last) take_kept(c, now);
}
