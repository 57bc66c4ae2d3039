/* loader: many WebSocket clients in one process, cheap enough not to be what is measured, that check what they get.

   It knows of a server only what RFC 6455 says and that a stream event is a JSON object with an integer "seq" among
   the first members; every other message is of the kind that its "type" names. What is asked for in the handshake,
   and what is said after it, is the commands' business, so that other servers than the gateway can be measured.

   Commands come on stdin, one a line. Those marked * are answered, in order, by one line of JSON on stdout.

     group NAME ADDRESS PORT [OPTION]... a group of clients, of one server; options:
                                           tls           TLS 1.3
                                           reset         sockets are closed by a reset, and leave no trace
                                           nats=SUBJECT  the server speaks NATS within WebSocket frames
                                           lines         a frame may hold several messages, one a line
     client NAME FIRST PATH[\tHEADER]... one client more; FIRST: the seq that its first event must have, 0 for any
     open NAME PENDING                   connect the group, PENDING handshakes at a time
   * await NAME KIND COUNT               answered once each client of the group has got COUNT of that kind
   * total NAME KIND COUNT               answered once all of them together have got COUNT of that kind
     send NAME TEXT                      each client of the group sends a text message
     say NAME PLACE TEXT                 one client sends a text message; PLACE: 0 for the first that the group got
   * forget NAME                         count from zero, latencies too; what seq each client stands at is kept
     capture NAME FILE                   write the messages that the group gets from now on to a file, one a line
   * stat NAME                           what the group got, and what was wrong with it
   * times NAME                          of each client: when it asked, first and last byte of its snapshot, size
   * counts NAME                         of each client: how many events it got
   * latency NAME                        from the sender to here, of those events that tell when they were sent
     again NAME                          close the group's sockets; it can be opened once more, with its TLS sessions
     close NAME                          close the group's sockets and forget the group

   Kinds: open (the handshake is done), event, or the type of a message; of NATS pong is one. Times are CLOCK_MONOTONIC
   in ns, as "sent_ns" in an event is. A client that is answered with permessage-deflate inflates what it gets. */

#define _GNU_SOURCE
#include "loader.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 512, COMMANDS = 1 << 20 };

const char *const KIND[KINDS] = {"open", "event", "welcome", "resumed",    "snapshot", "reset",
                                 "gap",  "error", "pong",    "subscribed", "other"};

int poller;
static struct group *groups;

int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void die(const char *what, const char *which) {
    fprintf(stderr, "loader: %s: %s\n", what, which);
    exit(2);
}

void *grown(void *memory, size_t size) {
    memory = realloc(memory, size);
    if (!memory) die("no memory", "realloc");
    return memory;
}

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
    if (g->begun) die("the group is open", g->name);
    if (g->size == g->room) {
        g->room = g->room * 2 + 64;
        g->clients = grown(g->clients, g->room * sizeof *g->clients);
    }
    struct client *c = memset(&g->clients[g->size++], 0, sizeof *c);
    c->group = g;
    c->first = strtoull(word(&line), NULL, 10);
    char *path = strsep(&line, "\t"), *header;
    size_t size;
    FILE *request = open_memstream(&c->request, &size);
    fprintf(request, "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", path);
    fprintf(request, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", KEY);
    while ((header = strsep(&line, "\t"))) fprintf(request, "%s\r\n", header);
    fputs("\r\n", request);
    fclose(request);
}

static void open_group(char *line) {
    struct group *g = find(word(&line));
    g->most_pending = atoi(word(&line));
    dial_more(g);
}

static void await_count(char *line, bool together) {
    struct group *g = find(word(&line));
    const char *name = word(&line);
    for (g->awaited = 0; g->awaited < KINDS && strcmp(KIND[g->awaited], name); g->awaited++) continue;
    if (g->awaited == KINDS) die("no such kind", name);
    g->wanted = strtoull(word(&line), NULL, 10);
    g->together = together;
    answer_await(g);
}

static void await_each(char *line) { await_count(line, false); }

static void await_total(char *line) { await_count(line, true); }

static void send_as(struct client *c, const char *text) {
    size_t size = strlen(text);
    if (size > 65535) die("too long", "send");
    if (c->state != OPEN) return;
    c->asked = now_ns();
    say(c, 1, text, size);
}

static void send_text(char *line) {
    struct group *g = find(word(&line));
    for (struct client *c = g->clients; c < g->clients + g->size; c++) send_as(c, line);
}

static void say_text(char *line) {
    struct group *g = find(word(&line));
    uint32_t place = atoi(word(&line));
    if (place >= g->size) die("no such client", g->name);
    send_as(&g->clients[place], line);
}

static void count_anew(struct group *g) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct tally *t = &g->kinds[kind];
        if (t->room) memset(t->reached, 0, t->room * sizeof *t->reached);
        t->low = t->high = 0;
        t->total = 0;
    }
    for (struct client *c = g->clients; c < g->clients + g->size; c++) memset(c->counts, 0, sizeof c->counts);
    g->bytes = g->wire = g->replayed = 0;
    memset(&g->latency, 0, sizeof g->latency);
}

/* Answered, so that nothing is published, and counted, and then forgotten. */
static void forget(char *line) {
    count_anew(find(word(&line)));
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
    printf("{\"clients\":%u,\"open\":%llu,\"lost\":%llu,\"trouble\":\"%s\"", g->size, (unsigned long long)open,
           (unsigned long long)g->lost, g->trouble);
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
    printf("{\"count\":%llu,\"p50\":%lld,\"p99\":%lld,\"most\":%lld}\n", (unsigned long long)l->total,
           (long long)latency_below(l, 0.5), (long long)latency_below(l, 0.99), (long long)l->most);
    fflush(stdout);
}

static void hang_up_all(struct group *g) {
    for (struct client *c = g->clients; c < g->clients + g->size; c++)
        if (c->state != IDLE && c->state != GONE) hang_up(c);
}

/* What a client was told to ask for, and the session that its server gave it, are all that is left of it. */
static void again(char *line) {
    struct group *g = find(word(&line));
    hang_up_all(g);
    for (struct client *c = g->clients; c < g->clients + g->size; c++) {
        struct client fresh = {.group = g, .request = c->request, .first = c->first, .session = c->session};
        *c = fresh;
    }
    count_anew(g);
    g->begun = g->pending = 0;
    g->began = 0;
    g->lost = g->disorder = g->gaps = g->mismatches = g->tls_resumed = g->deflated = 0;
    g->trouble[0] = 0;
}

static void close_group(char *line) {
    struct group *g = find(word(&line)), **place = &groups;
    hang_up_all(g);
    for (struct client *c = g->clients; c < g->clients + g->size; c++) {
        tls_forget(c);
        free(c->request);
    }
    while (*place != g) place = &(*place)->next;
    *place = g->next;
    for (int kind = 0; kind < KINDS; kind++) free(g->kinds[kind].reached);
    if (g->capture) fclose(g->capture);
    free(g->clients);
    free(g);
}

static const struct {
    const char *name;
    void (*run)(char *line);
} COMMAND[] = {
    {"group", new_group},   {"client", new_client}, {"open", open_group}, {"await", await_each},
    {"total", await_total}, {"send", send_text},    {"say", say_text},    {"forget", forget},
    {"stat", stat_group},   {"times", times},       {"counts", counts},   {"latency", latency},
    {"capture", capture_to}, {"again", again},     {"close", close_group},
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
    static char text[COMMANDS];
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
            else if (c->state == CONNECTING) connected(c);
            else if (c->state == SHAKING) shake(c);
            else if (c->state != GONE) readable(c);
        }
        for (struct group *g = groups; g; g = g->next) {
            dial_more(g);
            answer_await(g);
        }
        /* Last: a command may free clients that are among the events. */
        if (commanded) read_commands();
    }
}
