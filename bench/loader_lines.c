/* Several messages in one frame, one a line, as the write pump of gorilla/websocket's chat example joins the messages
   that are queued for a client. Such a frame may arrive in fragments; the last fragment ends a line, too. */

#include "loader_lines.h"

#include <string.h>

#include "loader_message.h"

static void hold(struct client *c, const char *data, size_t size) {
    append_held(c, data, size);
    c->message_size += size;
}

static void handle_held(struct client *c, int64_t now) {
    if (c->message_size) handle_message(c, c->held, c->held_size, c->message_size, now);
    c->held_size = 0;
    c->message_size = 0;
}

void lines_receive(struct client *c, const char *data, size_t size, bool last, int64_t now) {
    const char *end = data + size, *found;
    while (c->state == OPEN && data < end && (found = memchr(data, '\n', end - data))) {
        if (c->message_size) {
            hold(c, data, found - data);
            handle_held(c, now);
        } else {
            handle_message(c, data, found - data, found - data, now);
        }
        data = found + 1;
    }
    hold(c, data, end - data);
    if (last) handle_held(c, now);
}
