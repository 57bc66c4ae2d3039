/* A client's socket: sending on it and closing it. */

#define _GNU_SOURCE
#include "loader_socket.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loader_tls.h"

ssize_t send_bytes(struct client *c, const char *data, size_t size) {
    return c->tls ? tls_send(c, data, size) : send(c->fd, data, size, MSG_NOSIGNAL);
}

void send_frame(struct client *c, int opcode, const char *text, size_t size) {
    /* The masking key is 0, which leaves the text unchanged. */
    char frame[size + 14];
    size_t at = 2;
    frame[0] = (char)(0x80 | opcode);
    if (size < 126) {
        frame[1] = (char)(0x80 | size);
    } else {
        frame[1] = (char)(0x80 | 126);
        frame[at++] = (char)(size >> 8);
        frame[at++] = (char)size;
    }
    memset(frame + at, 0, 4);
    memcpy(frame + at + 4, text, size);
    size += at + 4;
    if (send_bytes(c, frame, size) != (ssize_t)size) fail(c, "a message could not be sent");
}

void close_socket(struct client *c) {
    struct linger at_once = {.l_onoff = 1};
    if (c->group->resets) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    tls_close(c);
    close(c->fd);
    free(c->whole);
    c->whole = NULL;
}

void fail(struct client *c, const char *format, ...) {
    struct group *g = c->group;
    if (c->state == CLOSED) return;
    if (c->state < OPEN) g->pending--;
    close_socket(c);
    c->state = CLOSED;
    if (!g->lost++) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(g->error, sizeof g->error, format, arguments);
        va_end(arguments);
        /* The text is part of a JSON answer. */
        for (char *p = g->error; *p; p++)
            if (*p < ' ' || *p == '"' || *p == '\\') *p = ' ';
    }
}
