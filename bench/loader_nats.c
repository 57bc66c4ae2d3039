/* The protocol of NATS, as a subscriber over WebSocket speaks it: lines, and messages behind their size. It is a
   stream: where frames begin and end says nothing about where messages do.
   https://docs.nats.io/reference/reference-protocols/nats-protocol */

#define _GNU_SOURCE
#include "loader.h"

#include <stdlib.h>
#include <string.h>

#define OPTIONS "{\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"lang\":\"c\",\"version\":\"1\"}"

void nats_greet(struct client *c) {
    char text[256];
    /* The answer to PING comes once the subscription is in force. */
    int size = snprintf(text, sizeof text, "CONNECT %s\r\nSUB %s 1\r\nPING\r\n", OPTIONS, c->group->nats);
    say(c, 2, text, size);
}

/* MSG subject sid [reply-to] size */
static void begin_message(struct client *c, const char *line, const char *end) {
    const char *size = memrchr(line, ' ', end - line);
    c->message_size = size ? strtoull(size + 1, NULL, 10) : 0;
    c->message_missing = c->message_size + 2;
}

/* line ends with its \r\n, so that what reads a number in it stops there. */
static void take_line(struct client *c, const char *line, const char *end, int64_t now) {
    size_t size = end - line;
    if (size > 4 && !memcmp(line, "MSG ", 4)) begin_message(c, line, end);
    else if (size >= 4 && !memcmp(line, "PING", 4)) say(c, 2, "PONG\r\n", 6);
    else if (size >= 4 && !memcmp(line, "PONG", 4)) count(c, PONG, now);
    else if (size >= 4 && !memcmp(line, "-ERR", 4)) lose(c, "%.60s", line);
    else if (size < 4 || (memcmp(line, "INFO", 4) && memcmp(line, "+OK\r", 4))) lose(c, "not NATS: %.20s", line);
}

static size_t keep(struct client *c, const char *data, size_t size) {
    size_t kept = size < HEAD - c->held_size ? size : HEAD - c->held_size;
    memcpy(c->held + c->held_size, data, kept);
    c->held_size += kept;
    return size;
}

static size_t line_part(struct client *c, const char *data, size_t size, int64_t now) {
    const char *end = memchr(data, '\n', size);
    if (!end) return keep(c, data, size);
    size_t used = end + 1 - data;
    if (!c->held_size) {
        take_line(c, data, end, now);
        return used;
    }
    keep(c, data, used);
    take_line(c, c->held, c->held + c->held_size - 1, now);
    c->held_size = 0;
    return used;
}

static size_t message_part(struct client *c, const char *data, size_t size, int64_t now) {
    size_t here = size < c->message_missing ? size : c->message_missing;
    if (!c->held_size && here == c->message_size + 2) {
        take_message(c, data, c->message_size, c->message_size, now);
    } else {
        keep(c, data, here);
        if (here < c->message_missing) {
            c->message_missing -= here;
            return here;
        }
        take_message(c, c->held, c->message_size < HEAD ? c->message_size : HEAD, c->message_size, now);
    }
    c->held_size = 0;
    c->message_missing = 0;
    return here;
}

void nats_take(struct client *c, const char *data, size_t size, int64_t now) {
    while (size && c->state == OPEN) {
        size_t used = c->message_missing ? message_part(c, data, size, now) : line_part(c, data, size, now);
        data += used;
        size -= used;
    }
}
