/* Connecting the clients of a group: TCP, TLS, and the opening handshake of WebSocket. */

#define _GNU_SOURCE
#include "loader_connect.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "loader_frame.h"
#include "loader_nats.h"
#include "loader_socket.h"
#include "loader_tls.h"
#include "loader_util.h"

/* The answer to WEBSOCKET_KEY, in the same example. */
#define WEBSOCKET_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum { READ_BYTES = 262144 };

int poller;

static void watch(struct client *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event)) die("epoll_ctl", strerror(errno));
}

static void start_connecting(struct client *c) {
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

void connect_more(struct group *g) {
    while (g->started < g->size && g->pending < g->max_pending) start_connecting(&g->clients[g->started++]);
}

static void request_upgrade(struct client *c) {
    size_t length = strlen(c->request);
    /* Before sending: the answer may arrive before the call returns. */
    c->asked = now_ns();
    if (send_bytes(c, c->request, length) != (ssize_t)length) fail(c, "the handshake could not be sent");
    else c->state = UPGRADING;
}

static void continue_tls(struct client *c) {
    int done = tls_handshake(c);
    if (done < 0) fail(c, "the TLS handshake failed");
    else if (done) request_upgrade(c);
}

static void finish_connecting(struct client *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        fail(c, "connect: %s", strerror(error));
        return;
    }
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->state = TLS_HANDSHAKE;
    if (c->group->tls) continue_tls(c);
    else request_upgrade(c);
}

static void receive_upgrade(struct client *c, const char *data, size_t size, int64_t now) {
    size_t kept = size < HEAD - 1 - c->head_size ? size : HEAD - 1 - c->head_size;
    memcpy(c->head + c->head_size, data, kept);
    uint32_t before = c->head_size;
    c->head_size += kept;
    c->head[c->head_size] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        if (c->head_size == HEAD - 1) fail(c, "the answer to the handshake is too long");
        return;
    }
    if (strncmp(c->head, "HTTP/1.1 101", 12) || !strstr(c->head, WEBSOCKET_ACCEPT)) {
        fail(c, "handshake: %.60s", c->head);
        return;
    }
    size_t used = end + 4 - c->head - before;
    c->state = OPEN;
    c->head_size = 0;
    c->group->pending--;
    c->deflates = strcasestr(c->head, "permessage-deflate") != NULL;
    c->group->deflated += c->deflates;
    count(c, OPENED, now);
    if (c->group->nats[0]) nats_subscribe(c);
    receive_frames(c, data + used, size - used, now);
}

static void receive(struct client *c) {
    static char data[READ_BYTES];
    ssize_t size = c->tls ? tls_receive(c, data, sizeof data) : recv(c->fd, data, sizeof data, 0);
    int64_t now = now_ns();
    if (size <= 0) {
        if (size < 0 && errno == EAGAIN) return;
        fail(c, "the connection broke: %s", size ? strerror(errno) : "end of stream");
    } else if (c->state == UPGRADING) {
        receive_upgrade(c, data, size, now);
    } else {
        receive_frames(c, data, size, now);
    }
}

void socket_ready(struct client *c) {
    if (c->state == CONNECTING) finish_connecting(c);
    else if (c->state == TLS_HANDSHAKE) continue_tls(c);
    else if (c->state != CLOSED) receive(c);
}
