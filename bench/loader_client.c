/* Clients: how they connect and end, and what is counted of them. */

#define _GNU_SOURCE
#include "loader.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ = 262144 };

void count(struct client *c, enum kind kind, int64_t now) {
    struct group *g = c->group;
    struct tally *t = &g->kinds[kind];
    uint32_t n = ++c->counts[kind];
    if (n >= t->room) {
        uint32_t room = n * 2 + 64;
        t->reached = grown(t->reached, room * sizeof *t->reached);
        memset(t->reached + t->room, 0, (room - t->room) * sizeof *t->reached);
        t->room = room;
    }
    t->reached[n]++;
    while (t->low + 1 < t->room && t->reached[t->low + 1] == g->size) t->low++;
    if (n > t->high) t->high = n;
    t->total++;
    t->at = now;
}

void answer_await(struct group *g) {
    if (g->awaited < 0) return;
    struct tally *t = &g->kinds[g->awaited];
    if ((g->together ? t->total : t->low) < g->wanted && !g->lost) return;
    printf("{\"low\":%u,\"total\":%llu,\"lost\":%llu,\"at\":%lld}\n", t->low, (unsigned long long)t->total,
           (unsigned long long)g->lost, (long long)now_ns());
    fflush(stdout);
    g->awaited = -1;
}

void hang_up(struct client *c) {
    struct linger at_once = {.l_onoff = 1};
    if (c->group->resets) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    tls_end(c);
    close(c->fd);
    free(c->whole);
    c->whole = NULL;
}

void lose(struct client *c, const char *format, ...) {
    struct group *g = c->group;
    if (c->state == GONE) return;
    if (c->state < OPEN) g->pending--;
    hang_up(c);
    c->state = GONE;
    if (!g->lost++) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(g->trouble, sizeof g->trouble, format, arguments);
        va_end(arguments);
        for (char *p = g->trouble; *p; p++)
            if (*p < ' ' || *p == '"' || *p == '\\') *p = ' ';
    }
}

static void watch(struct client *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event)) die("epoll_ctl", strerror(errno));
}

static void dial(struct client *c) {
    struct group *g = c->group;
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->state = CONNECTING;
    g->pending++;
    if (!g->began) g->began = now_ns();
    if (connect(c->fd, (struct sockaddr *)&g->address, sizeof g->address) && errno != EINPROGRESS)
        die("connect", strerror(errno));
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

void dial_more(struct group *g) {
    while (g->begun < g->size && g->pending < g->most_pending) dial(&g->clients[g->begun++]);
}

static void ask_upgrade(struct client *c) {
    size_t length = strlen(c->request);
    /* Before the request: it may be answered before the call returns. */
    c->asked = now_ns();
    if (transmit(c, c->request, length) != (ssize_t)length) lose(c, "the handshake could not be sent");
    else c->state = UPGRADING;
}

void shake(struct client *c) {
    int done = tls_shake(c);
    if (done < 0) lose(c, "the TLS handshake failed");
    else if (done) ask_upgrade(c);
}

void connected(struct client *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        lose(c, "connect: %s", strerror(error));
        return;
    }
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->state = SHAKING;
    if (c->group->tls) shake(c);
    else ask_upgrade(c);
}

static void take_upgrade(struct client *c, const char *data, size_t size, int64_t now) {
    size_t kept = size < HEAD - 1 - c->head_size ? size : HEAD - 1 - c->head_size;
    memcpy(c->head + c->head_size, data, kept);
    uint32_t before = c->head_size;
    c->head_size += kept;
    c->head[c->head_size] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        if (c->head_size == HEAD - 1) lose(c, "the answer to the handshake has no end");
        return;
    }
    if (strncmp(c->head, "HTTP/1.1 101", 12) || !strstr(c->head, ACCEPT)) {
        lose(c, "handshake: %.60s", c->head);
        return;
    }
    size_t used = end + 4 - c->head - before;
    c->state = OPEN;
    c->head_size = 0;
    c->group->pending--;
    c->deflates = strcasestr(c->head, "permessage-deflate") != NULL;
    c->group->deflated += c->deflates;
    count(c, OPENED, now);
    if (c->group->nats[0]) nats_greet(c);
    take_bytes(c, data + used, size - used, now);
}

void readable(struct client *c) {
    static char data[READ];
    ssize_t size = c->tls ? tls_receive(c, data, sizeof data) : recv(c->fd, data, sizeof data, 0);
    int64_t now = now_ns();
    if (size <= 0) {
        if (size < 0 && errno == EAGAIN) return;
        lose(c, "the connection broke: %s", size ? strerror(errno) : "end of stream");
    } else if (c->state == UPGRADING) {
        take_upgrade(c, data, size, now);
    } else {
        take_bytes(c, data, size, now);
    }
}
