/* loader: many WebSocket clients in one process that check what they receive, at a cost low enough not to distort the
   measurement.

   Of the server it assumes only RFC 6455, and that a stream event is a JSON object with an integer "seq" among its
   first members; every other message is of the kind that its "type" names. The headers of the handshake and all later
   messages come from the commands, so that servers other than the gateway can be measured.

   Commands are read from stdin, one a line. Each command marked * is answered by one line of JSON on stdout, in order.

     group NAME ADDRESS PORT [OPTION]... make a group of clients of one server; options:
                                           tls           TLS 1.3
                                           reset         close sockets by a reset, which leaves no TIME_WAIT
                                           nats=SUBJECT  the server speaks NATS within WebSocket frames
                                           lines         a frame may hold several messages, one a line
     client NAME FIRST PATH[\tHEADER]... add a client; FIRST: the seq that its first event must have, 0 for any
     open NAME PENDING                   connect the group, PENDING handshakes at a time
   * await NAME KIND COUNT               answer once each client of the group has received COUNT of that kind
   * total NAME KIND COUNT               answer once all clients together have received COUNT of that kind
     send NAME TEXT                      send a text message from each client of the group
     send-one NAME INDEX TEXT            send a text message from one client; INDEX is 0 for the first that was added
   * clear NAME                          set counts and latencies to zero; the seq of each client stays
     capture NAME FILE                   write the messages that arrive from now on to a file, one a line
   * stat NAME                           what the group received, and what was wrong with it
   * times NAME                          for each client: time of request, first and last byte of its snapshot, size
   * counts NAME                         for each client: the number of events received
   * latency NAME                        latency from the sender to the client, of events that carry their send time
     disconnect NAME                     close the group's sockets; it can be opened again, with its TLS sessions
     close NAME                          close the group's sockets and delete the group

   Kinds: open (the handshake is complete), event, or the type of a message; for NATS also pong. Times are
   CLOCK_MONOTONIC in ns, as is "sent_ns" in an event. A client that is granted permessage-deflate inflates messages. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "loader_connect.h"
#include "loader_group.h"
#include "loader_socket.h"
#include "loader_tls.h"
#include "loader_util.h"

enum { BATCH = 512, COMMAND_BYTES = 1 << 20, MAX_TEXT_BYTES = 65535 };

static struct group *groups;

static struct group *find(const char *name) {
    for (struct group *g = groups; g; g = g->next)
        if (!strcmp(g->name, name)) return g;
    die("no such group", name);
    return NULL;
}

static char *word(char **line) {
    char *found = strsep(line, " ");
    if (!found) die("a command is too short", "");
    return found;
}

static void set_option(struct group *g, const char *option) {
    if (!strcmp(option, "tls")) g->tls = true;
    else if (!strcmp(option, "reset")) g->resets = true;
    else if (!strcmp(option, "lines")) g->lines = true;
    else if (!strncmp(option, "nats=", 5)) snprintf(g->nats, sizeof g->nats, "%s", option + 5);
    else die("no such option", option);
}

static void new_group(char *line) {
    struct group *g = calloc(1, sizeof *g);
    snprintf(g->name, sizeof g->name, "%s", word(&line));
    g->address.sin_family = AF_INET;
    if (inet_pton(AF_INET, word(&line), &g->address.sin_addr) != 1) die("not an address", g->name);
    g->address.sin_port = htons(atoi(word(&line)));
    for (char *option; (option = strsep(&line, " "));) set_option(g, option);
    g->awaited = -1;
    g->next = groups;
    groups = g;
}

static void new_client(char *line) {
    struct group *g = find(word(&line));
    if (g->started) die("the group is open", g->name);
    if (g->size == g->capacity) {
        g->capacity = g->capacity * 2 + 64;
        g->clients = resize(g->clients, g->capacity * sizeof *g->clients);
    }
    struct client *c = memset(&g->clients[g->size++], 0, sizeof *c);
    c->group = g;
    c->first = strtoull(word(&line), NULL, 10);
    char *path = strsep(&line, "\t"), *header;
    size_t size;
    FILE *request = open_memstream(&c->request, &size);
    fprintf(request, "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", path);
    fprintf(request, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", WEBSOCKET_KEY);
    while ((header = strsep(&line, "\t"))) fprintf(request, "%s\r\n", header);
    fputs("\r\n", request);
    fclose(request);
}

static void open_group(char *line) {
    struct group *g = find(word(&line));
    g->max_pending = atoi(word(&line));
    connect_more(g);
}

static void await_count(char *line, bool total) {
    struct group *g = find(word(&line));
    const char *name = word(&line);
    for (g->awaited = 0; g->awaited < KINDS && strcmp(KIND[g->awaited], name); g->awaited++) continue;
    if (g->awaited == KINDS) die("no such kind", name);
    g->wanted = strtoull(word(&line), NULL, 10);
    g->awaits_total = total;
    answer_await(g);
}

static void await_each(char *line) { await_count(line, false); }

static void await_total(char *line) { await_count(line, true); }

static void send_from(struct client *c, const char *text) {
    size_t size = strlen(text);
    if (size > MAX_TEXT_BYTES) die("too long", "send");
    if (c->state != OPEN) return;
    c->asked = now_ns();
    send_frame(c, 1, text, size);
}

static void send_from_all(char *line) {
    struct group *g = find(word(&line));
    for (struct client *c = g->clients; c < g->clients + g->size; c++) send_from(c, line);
}

static void send_from_one(char *line) {
    struct group *g = find(word(&line));
    uint32_t index = atoi(word(&line));
    if (index >= g->size) die("no such client", g->name);
    send_from(&g->clients[index], line);
}

/* The answer lets the caller publish only after the counts are zero. */
static void clear(char *line) {
    clear_counts(find(word(&line)));
    puts("{}");
    fflush(stdout);
}

static void capture_to(char *line) {
    struct group *g = find(word(&line));
    if (g->capture) fclose(g->capture);
    g->capture = fopen(line, "w");
    if (!g->capture) die("cannot write", line);
}

static void stat_group(char *line) {
    struct group *g = find(word(&line));
    uint64_t low = UINT64_MAX, high = 0, open = 0;
    for (struct client *c = g->clients; c < g->clients + g->size; c++) {
        open += c->state == OPEN;
        if (c->seq < low) low = c->seq;
        if (c->seq > high) high = c->seq;
    }
    printf("{\"clients\":%u,\"open\":%llu,\"lost\":%llu,\"error\":\"%s\"", g->size, (unsigned long long)open,
           (unsigned long long)g->lost, g->error);
    printf(",\"disorder\":%llu,\"gaps\":%llu,\"mismatches\":%llu,\"replayed\":%llu", (unsigned long long)g->disorder,
           (unsigned long long)g->gaps, (unsigned long long)g->mismatches, (unsigned long long)g->replayed);
    printf(",\"wire\":%llu,\"tls_resumed\":%llu,\"deflated\":%llu", (unsigned long long)g->wire,
           (unsigned long long)g->tls_resumed, (unsigned long long)g->deflated);
    printf(",\"bytes\":%llu,\"low_seq\":%llu,\"high_seq\":%llu,\"began\":%lld,\"kinds\":{",
           (unsigned long long)g->bytes, (unsigned long long)low, (unsigned long long)high, (long long)g->began);
    for (int kind = 0; kind < KINDS; kind++) {
        struct tally *t = &g->kinds[kind];
        printf("%s\"%s\":{\"total\":%llu,\"low\":%u,\"high\":%u,\"at\":%lld}", kind ? "," : "", KIND[kind],
               (unsigned long long)t->total, t->low, t->high, (long long)t->at);
    }
    puts("}}");
    fflush(stdout);
}

static void times(char *line) {
    struct group *g = find(word(&line));
    if (g->capture) fflush(g->capture);
    putchar('[');
    for (struct client *c = g->clients; c < g->clients + g->size; c++)
        printf("%s[%lld,%lld,%lld,%llu]", c == g->clients ? "" : ",", (long long)c->asked, (long long)c->first_byte,
               (long long)c->last_byte, (unsigned long long)c->snapshot_size);
    puts("]");
    fflush(stdout);
}

static void counts(char *line) {
    struct group *g = find(word(&line));
    putchar('[');
    for (struct client *c = g->clients; c < g->clients + g->size; c++)
        printf("%s%u", c == g->clients ? "" : ",", c->counts[EVENT]);
    puts("]");
    fflush(stdout);
}

static void latency(char *line) {
    const struct latency *l = &find(word(&line))->latency;
    printf("{\"count\":%llu,\"p50\":%lld,\"p99\":%lld,\"max\":%lld}\n", (unsigned long long)l->total,
           (long long)latency_quantile(l, 0.5), (long long)latency_quantile(l, 0.99), (long long)l->max);
    fflush(stdout);
}

static void close_sockets(struct group *g) {
    for (struct client *c = g->clients; c < g->clients + g->size; c++)
        if (c->state != IDLE && c->state != CLOSED) close_socket(c);
}

/* Each client keeps only its request, its first seq and its TLS session. */
static void disconnect(char *line) {
    struct group *g = find(word(&line));
    close_sockets(g);
    for (struct client *c = g->clients; c < g->clients + g->size; c++) {
        struct client fresh = {.group = g, .request = c->request, .first = c->first, .session = c->session};
        *c = fresh;
    }
    clear_counts(g);
    g->started = g->pending = 0;
    g->began = 0;
    g->lost = g->disorder = g->gaps = g->mismatches = g->tls_resumed = g->deflated = 0;
    g->error[0] = 0;
}

static void close_group(char *line) {
    struct group *g = find(word(&line)), **link = &groups;
    close_sockets(g);
    for (struct client *c = g->clients; c < g->clients + g->size; c++) {
        tls_discard_session(c);
        free(c->request);
    }
    while (*link != g) link = &(*link)->next;
    *link = g->next;
    for (int kind = 0; kind < KINDS; kind++) free(g->kinds[kind].reached);
    if (g->capture) fclose(g->capture);
    free(g->clients);
    free(g);
}

static const struct {
    const char *name;
    void (*run)(char *line);
} COMMAND[] = {
    {"group", new_group},        {"client", new_client},   {"open", open_group},        {"await", await_each},
    {"total", await_total},      {"send", send_from_all},  {"send-one", send_from_one}, {"clear", clear},
    {"stat", stat_group},        {"times", times},         {"counts", counts},          {"latency", latency},
    {"capture", capture_to},     {"disconnect", disconnect}, {"close", close_group},
};

static void run_command(char *line) {
    char *name = word(&line);
    for (size_t i = 0; i < sizeof COMMAND / sizeof *COMMAND; i++)
        if (!strcmp(COMMAND[i].name, name)) {
            COMMAND[i].run(line);
            return;
        }
    die("no such command", name);
}

static void read_commands(void) {
    static char text[COMMAND_BYTES];
    static size_t held;
    ssize_t size = read(0, text + held, sizeof text - held);
    if (size <= 0) exit(0);
    held += size;
    char *line = text, *end;
    while ((end = memchr(line, '\n', text + held - line))) {
        *end = 0;
        run_command(line);
        line = end + 1;
    }
    held -= line - text;
    if (held == sizeof text) die("a command is too long", "");
    memmove(text, line, held);
}

int main(void) {
    struct epoll_event events[BATCH], commands = {.events = EPOLLIN, .data.ptr = NULL};
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, 0, &commands)) die("epoll", strerror(errno));
    for (;;) {
        bool commanded = false;
        int ready = epoll_wait(poller, events, BATCH, -1);
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            if (!c) commanded = true;
            else socket_ready(c);
        }
        for (struct group *g = groups; g; g = g->next) {
            connect_more(g);
            answer_await(g);
        }
        /* Last: a command may free clients that are among the events. */
        if (commanded) read_commands();
    }
}
