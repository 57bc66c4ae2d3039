/* loader: many WebSocket clients in one process, cheap enough not to be what is measured, that check what they get.

   It knows of a server only what RFC 6455 says and that a stream event is a JSON object with an integer "seq" among
   the first members; every other message is of the kind that its "type" names. What is asked for in the handshake,
   and what is said after it, is the commands' business, so that other servers than the gateway can be measured.

   Commands come on stdin, one a line. Those marked * are answered, in order, by one line of JSON on stdout.

     group NAME ADDRESS PORT             a group of clients, of one server
     client NAME FIRST PATH[\tHEADER]... one client more; FIRST: the seq that its first event must have, 0 for any
     open NAME PENDING                   connect the group, PENDING handshakes at a time
   * await NAME KIND COUNT               answered once each client of the group has got COUNT of that kind
     send NAME TEXT                      each client of the group sends a text message
     forget NAME                         count from zero; what seq each client stands at is kept
     capture NAME FILE                   write the messages that the group gets from now on to a file, one a line
   * stat NAME                           what the group got, and what was wrong with it
   * times NAME                          of each client: when it asked, first and last byte of its snapshot, size
     close NAME                          close the group's sockets and forget the group

   Kinds: open (the handshake is done), event, or the type of a message. Times are CLOCK_MONOTONIC in ns. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 1024, READ = 262144, BATCH = 512, NAMES = 32, COMMANDS = 1 << 20 };
enum kind { OPENED, EVENT, WELCOME, RESUMED, SNAPSHOT, RESET, GAP, ERROR, PONG, SUBSCRIBED, OTHER, KINDS };
enum state { IDLE, CONNECTING, UPGRADING, OPEN, GONE };

static const char *const KIND[KINDS] = {"open", "event", "welcome", "resumed",    "snapshot", "reset",
                                        "gap",  "error", "pong",    "subscribed", "other"};

/* The example of RFC 6455 section 1.3: a key, and the answer to it. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* How many clients have got at least n messages of a kind: reached[n]. low is the largest n that all have. */
struct tally {
    uint32_t *reached, room, low, high;
    uint64_t total;
    int64_t at;
};

struct group {
    char name[NAMES];
    struct sockaddr_in address;
    struct client *clients;
    uint32_t size, room, begun, pending, most_pending;
    struct tally kinds[KINDS];
    int awaited; /* a kind, or -1 */
    uint32_t wanted;
    uint64_t lost, disorder, gaps, mismatches, replayed, bytes;
    int64_t began;
    char trouble[200];
    FILE *capture;
    struct group *next;
};

struct client {
    struct group *group;
    int fd;
    enum state state;
    char *request;
    uint64_t first, seq;
    uint32_t counts[KINDS];
    /* The frame that is coming in. */
    uint8_t header[10];
    char head[HEAD];
    uint32_t header_size, head_size;
    uint64_t size, missing;
    int64_t frame_at;
    /* The last snapshot. */
    int64_t asked, first_byte, last_byte;
    uint64_t snapshot_size;
};

static struct group *groups;
static int poller;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what, const char *which) {
    fprintf(stderr, "loader: %s: %s\n", what, which);
    exit(2);
}

static void *grown(void *memory, size_t size) {
    memory = realloc(memory, size);
    if (!memory) die("no memory", "realloc");
    return memory;
}

/* Counting */

static void count(struct client *c, enum kind kind, int64_t now) {
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

static void answer_await(struct group *g) {
    if (g->awaited < 0) return;
    struct tally *t = &g->kinds[g->awaited];
    if (t->low < g->wanted && !g->lost) return;
    printf("{\"low\":%u,\"lost\":%llu,\"at\":%lld}\n", t->low, (unsigned long long)g->lost, (long long)now_ns());
    fflush(stdout);
    g->awaited = -1;
}

static void lose(struct client *c, const char *format, ...) {
    struct group *g = c->group;
    if (c->state == GONE) return;
    if (c->state == CONNECTING || c->state == UPGRADING) g->pending--;
    close(c->fd);
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

/* Messages */

static const char *after_string(const char *p, const char *end) {
    for (; p < end; p++) {
        if (*p == '\\') p++;
        else if (*p == '"') return p + 1;
    }
    return NULL;
}

/* The seq of a stream event, or 0; type is set to the text of "type" if that came before. */
static uint64_t seq_of(const char *p, const char *end, const char **type, size_t *type_size) {
    *type = "";
    *type_size = 0;
    if (p >= end || *p++ != '{') return 0;
    while (p < end && *p == '"') {
        const char *key = p + 1, *value = after_string(key, end);
        if (!value || value >= end || *value++ != ':' || value >= end) return 0;
        if (value - key == 5 && !memcmp(key, "seq", 3)) return strtoull(value, NULL, 10);
        if (*value == '{' || *value == '[') return 0;
        if (*value == '"') {
            p = after_string(value + 1, end);
            if (!p) return 0;
            if (value - key == 6 && !memcmp(key, "type", 4)) {
                *type = value + 1;
                *type_size = p - value - 2;
            }
        } else {
            p = memchr(value, ',', end - value);
            if (!p) return 0;
        }
        if (p < end && *p == ',') p++;
    }
    return 0;
}

static void take_event(struct client *c, uint64_t seq, int64_t now) {
    uint64_t expected = c->seq ? c->seq + 1 : c->first;
    if (seq <= c->seq || seq < c->first) c->group->disorder++;
    else if (expected && seq != expected) c->group->gaps += seq - expected;
    c->seq = seq;
    count(c, EVENT, now);
}

static uint64_t number_after(const char *name, const char *p, const char *end) {
    const char *found = memmem(p, end - p, name, strlen(name));
    return found ? strtoull(found + strlen(name), NULL, 10) : UINT64_MAX;
}

static void take_control(struct client *c, const char *type, size_t size, const char *p, const char *end, int64_t now) {
    int kind = WELCOME;
    while (kind < OTHER && (strlen(KIND[kind]) != size || memcmp(KIND[kind], type, size))) kind++;
    if (kind == RESUMED) {
        /* Nothing but what was missed has come before it. */
        uint64_t replayed = number_after("\"count\":", p, end);
        uint64_t until = number_after("\"to_seq\":", p, end);
        if (replayed != c->counts[EVENT] || (replayed && until != c->seq)) c->group->mismatches++;
        c->group->replayed += replayed;
    } else if (kind == SNAPSHOT) {
        c->first_byte = c->frame_at;
        c->last_byte = now;
        c->snapshot_size = c->size;
    }
    count(c, kind, now);
}

static void say(struct client *c, int opcode, const char *text, size_t size) {
    /* Masked with zeros, which leaves the text as it is. */
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
    if (send(c->fd, frame, size, MSG_NOSIGNAL) != (ssize_t)size) lose(c, "a message could not be sent");
}

static void take_frame(struct client *c, const char *payload, size_t shown, int64_t now) {
    const char *end = payload + shown, *type;
    size_t type_size;
    uint64_t seq;
    switch (c->header[0]) {
    case 0x81:
    case 0x82:
        c->group->bytes += c->size;
        seq = seq_of(payload, end, &type, &type_size);
        if (seq) take_event(c, seq, now);
        else take_control(c, type, type_size, payload, end, now);
        return;
    case 0x89: say(c, 0xA, payload, shown); return;
    case 0x8A: return;
    case 0x88:
        if (shown < 2) lose(c, "closed without a code");
        else lose(c, "closed with %d", (uint8_t)payload[0] << 8 | (uint8_t)payload[1]);
        return;
    default: lose(c, "a frame that begins with 0x%02x", c->header[0]);
    }
}

static void capture(struct client *c, const char *data, size_t size, bool complete) {
    FILE *file = c->group->capture;
    if (!file || c->header[0] != 0x81) return;
    fwrite(data, 1, size, file);
    if (complete) fputc('\n', file);
}

static uint32_t header_needed(const struct client *c) {
    if (c->header_size < 2) return 2;
    return c->header[1] == 127 ? 10 : c->header[1] == 126 ? 4 : 2;
}

static void read_size(struct client *c, uint32_t needed) {
    c->size = c->header[1];
    if (needed > 2) c->size = 0;
    for (uint32_t i = 2; i < needed; i++) c->size = c->size << 8 | c->header[i];
    c->missing = c->size;
    c->head_size = 0;
}

/* The payload's part in data; of a frame that does not come in one piece only the head is kept. */
static size_t take_payload(struct client *c, const char *data, size_t size, int64_t now) {
    size_t here = size < c->missing ? size : c->missing;
    bool whole = c->missing == c->size && here == c->size;
    c->missing -= here;
    capture(c, data, here, c->missing == 0);
    if (!whole) {
        size_t kept = here < HEAD - c->head_size ? here : HEAD - c->head_size;
        memcpy(c->head + c->head_size, data, kept);
        c->head_size += kept;
    }
    if (c->missing == 0) {
        take_frame(c, whole ? data : c->head, whole ? here : c->head_size, now);
        c->header_size = 0;
    }
    return here;
}

static void take_bytes(struct client *c, const char *data, size_t size, int64_t now) {
    while (size && c->state == OPEN) {
        uint32_t needed = header_needed(c);
        if (c->header_size < needed) {
            if (!c->header_size) c->frame_at = now;
            c->header[c->header_size++] = (uint8_t)*data++;
            size--;
            needed = header_needed(c);
            if (c->header_size < needed) continue;
            read_size(c, needed);
            if (c->size) continue;
        }
        size_t taken = take_payload(c, data, size, now);
        data += taken;
        size -= taken;
    }
}

/* Connections */

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

static void dial_more(struct group *g) {
    while (g->begun < g->size && g->pending < g->most_pending) dial(&g->clients[g->begun++]);
}

static void ask_upgrade(struct client *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    size_t length = strlen(c->request);
    /* Before the request: it may be answered before send() returns. */
    c->asked = now_ns();
    if (error || send(c->fd, c->request, length, MSG_NOSIGNAL) != (ssize_t)length) {
        lose(c, "connect: %s", strerror(error ? error : errno));
        return;
    }
    c->state = UPGRADING;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
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
    count(c, OPENED, now);
    take_bytes(c, data + used, size - used, now);
}

static void readable(struct client *c) {
    static char data[READ];
    ssize_t size = recv(c->fd, data, sizeof data, 0);
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

/* Commands */

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

static void new_group(char *line) {
    struct group *g = calloc(1, sizeof *g);
    snprintf(g->name, sizeof g->name, "%s", word(&line));
    g->address.sin_family = AF_INET;
    if (inet_pton(AF_INET, word(&line), &g->address.sin_addr) != 1) die("not an address", g->name);
    g->address.sin_port = htons(atoi(word(&line)));
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

static void await_kind(char *line) {
    struct group *g = find(word(&line));
    const char *name = word(&line);
    for (g->awaited = 0; g->awaited < KINDS && strcmp(KIND[g->awaited], name); g->awaited++) continue;
    if (g->awaited == KINDS) die("no such kind", name);
    g->wanted = atoi(word(&line));
    answer_await(g);
}

static void send_text(char *line) {
    struct group *g = find(word(&line));
    size_t size = strlen(line);
    if (size > 65535) die("too long", "send");
    for (struct client *c = g->clients; c < g->clients + g->size; c++) {
        if (c->state != OPEN) continue;
        c->asked = now_ns();
        say(c, 1, line, size);
    }
}

static void forget(char *line) {
    struct group *g = find(word(&line));
    for (int kind = 0; kind < KINDS; kind++) {
        struct tally *t = &g->kinds[kind];
        if (t->room) memset(t->reached, 0, t->room * sizeof *t->reached);
        t->low = t->high = 0;
        t->total = 0;
    }
    for (struct client *c = g->clients; c < g->clients + g->size; c++) memset(c->counts, 0, sizeof c->counts);
    g->bytes = g->replayed = 0;
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
    printf(",\"bytes\":%llu,\"low_seq\":%llu,\"high_seq\":%llu,\"began\":%lld,\"kinds\":{", (unsigned long long)g->bytes,
           (unsigned long long)low, (unsigned long long)high, (long long)g->began);
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

static void close_group(char *line) {
    struct group *g = find(word(&line)), **place = &groups;
    for (struct client *c = g->clients; c < g->clients + g->size; c++) {
        if (c->state != IDLE && c->state != GONE) close(c->fd);
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
    {"group", new_group},    {"client", new_client}, {"open", open_group}, {"await", await_kind},
    {"send", send_text},     {"forget", forget},     {"stat", stat_group}, {"times", times},
    {"capture", capture_to}, {"close", close_group},
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
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, 0, &commands)) die("epoll", strerror(errno));
    for (;;) {
        bool commanded = false;
        int ready = epoll_wait(poller, events, BATCH, -1);
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            if (!c) commanded = true;
            else if (c->state == CONNECTING) ask_upgrade(c);
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
