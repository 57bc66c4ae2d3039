/* The NATS client protocol within WebSocket frames, for a subscriber: protocol lines, and payloads of a given size. It
   is a stream: frame boundaries are not message boundaries.
   https://docs.nats.io/reference/reference-protocols/nats-protocol */

#define _GNU_SOURCE
#include "loader_nats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader_message.h"
#include "loader_socket.h"

#define OPTIONS "{\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"lang\":\"c\",\"version\":\"1\"}"

void nats_subscribe(struct client *c) {
    char text[256];
    int size = snprintf(text, sizeof text, "CONNECT %s\r\nSUB %s 1\r\nPING\r\n", OPTIONS, c->group->nats);
    send_frame(c, 2, text, size);
}

/* MSG subject sid [reply-to] size */
static void begin_message(struct client *c, const char *line, const char *end) {
    const char *size = memrchr(line, ' ', end - line);
    c->message_size = size ? strtoull(size + 1, NULL, 10) : 0;
    c->message_missing = c->message_size + 2;
}

/* The line ends with \r\n, at which strtoull stops. */
static void handle_line(struct client *c, const char *line, const char *end, int64_t now) {
    size_t size = end - line;
    if (size > 4 && !memcmp(line, "MSG ", 4)) begin_message(c, line, end);
    else if (size >= 4 && !memcmp(line, "PING", 4)) send_frame(c, 2, "PONG\r\n", 6);
    else if (size >= 4 && !memcmp(line, "PONG", 4)) count(c, PONG, now);
    else if (size >= 4 && !memcmp(line, "-ERR", 4)) fail(c, "%.60s", line);
    else if (size < 4 || (memcmp(line, "INFO", 4) && memcmp(line, "+OK\r", 4))) fail(c, "not NATS: %.20s", line);
}

static size_t receive_line(struct client *c, const char *data, size_t size, int64_t now) {
    const char *end = memchr(data, '\n', size);
    if (!end) {
        append_held(c, data, size);
        return size;
    }
    size_t used = end + 1 - data;
    if (!c->held_size) {
        handle_line(c, data, end, now);
        return used;
    }
    append_held(c, data, used);
    handle_line(c, c->held, c->held + c->held_size - 1, now);
    c->held_size = 0;
    return used;
}

static size_t receive_message(struct client *c, const char *data, size_t size, int64_t now) {
    size_t here = size < c->message_missing ? size : c->message_missing;
    if (!c->held_size && here == c->message_size + 2) {
        handle_message(c, data, c->message_size, c->message_size, now);
    } else {
        append_held(c, data, here);
        if (here < c->message_missing) {
            c->message_missing -= here;
            return here;
        }
        handle_message(c, c->held, c->message_size < HEAD ? c->message_size : HEAD, c->message_size, now);
    }
    c->held_size = 0;
    c->message_missing = 0;
    return here;
}

void nats_receive(struct client *c, const char *data, size_t size, int64_t now) {
    while (size && c->state == OPEN) {
        size_t used = c->message_missing ? receive_message(c, data, size, now) : receive_line(c, data, size, now);
        data += used;
        size -= used;
    }
}
