/* What the parts of the loader share. See loader.c for what it is. */

#ifndef LOADER_H
#define LOADER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum { HEAD = 1024, NAMES = 32, INSTANTS = 1024, BUCKETS = 2048 };
enum kind { OPENED, EVENT, WELCOME, RESUMED, SNAPSHOT, RESET, GAP, ERROR, PONG, SUBSCRIBED, OTHER, KINDS };
enum state { IDLE, CONNECTING, SHAKING, UPGRADING, OPEN, GONE };

/* How many clients have got at least n messages of a kind: reached[n]. low is the largest n that all have. */
struct tally {
    uint32_t *reached, room, low, high;
    uint64_t total;
    int64_t at;
};

/* How long events took from their sender: counts by a logarithmic scale, 32 steps to an octave of ns. */
struct latency {
    uint64_t counts[BUCKETS], total;
    int64_t most;
};

struct group {
    char name[NAMES];
    struct sockaddr_in address;
    bool tls, resets, lines;
    char nats[NAMES]; /* the subject, where the server speaks the protocol of NATS */
    struct client *clients;
    uint32_t size, room, begun, pending, most_pending;
    struct tally kinds[KINDS];
    int awaited; /* a kind, or -1 */
    bool together;
    uint64_t wanted;
    uint64_t lost, disorder, gaps, mismatches, replayed, bytes, wire, tls_resumed, deflated;
    int64_t began;
    char trouble[200];
    FILE *capture;
    /* When the last events were sent, by seq: what one client has read, the others need not read again. */
    struct {
        uint64_t seq;
        int64_t sent;
    } instants[INSTANTS];
    struct latency latency;
    struct group *next;
};

struct client {
    struct group *group;
    int fd;
    enum state state;
    bool deflates;
    char *request;
    uint64_t first, seq;
    uint32_t counts[KINDS];
    /* The frame that is coming in. */
    uint8_t header[10];
    char head[HEAD];
    uint32_t header_size, head_size;
    uint64_t size, missing;
    int64_t frame_at;
    char *whole; /* of a compressed frame that does not come in one piece */
    /* The last snapshot. */
    int64_t asked, first_byte, last_byte;
    uint64_t snapshot_size;
    /* TLS: the connection, and what the server gave for the next one. */
    void *tls, *session;
    /* The message that is coming in where frames and messages are two things: its head, its size and, of NATS, how much
       is missing with its line end; 0 within a line. */
    char held[HEAD];
    uint32_t held_size;
    uint64_t message_missing, message_size;
};

/* The example of RFC 6455 section 1.3: a key, and the answer to it. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* loader.c */
extern const char *const KIND[KINDS];
extern int poller;
int64_t now_ns(void);
void die(const char *what, const char *which);
void *grown(void *memory, size_t size);

/* loader_client.c */
void count(struct client *c, enum kind kind, int64_t now);
void answer_await(struct group *g);
void hang_up(struct client *c);
void lose(struct client *c, const char *format, ...);
void dial_more(struct group *g);
void shake(struct client *c);
void connected(struct client *c);
void readable(struct client *c);

/* loader_message.c */
ssize_t transmit(struct client *c, const char *data, size_t size);
void say(struct client *c, int opcode, const char *text, size_t size);
void take_message(struct client *c, const char *text, size_t shown, uint64_t size, int64_t now);
void take_bytes(struct client *c, const char *data, size_t size, int64_t now);

/* loader_tls.c; to shake hands gives 1 when it is done, 0 when more has to come, -1 when it failed. */
int tls_shake(struct client *c);
ssize_t tls_receive(struct client *c, char *data, size_t size);
ssize_t tls_send(struct client *c, const char *data, size_t size);
void tls_end(struct client *c);
void tls_forget(struct client *c);

/* loader_nats.c */
void nats_greet(struct client *c);
void nats_take(struct client *c, const char *data, size_t size, int64_t now);

/* loader_lines.c */
void lines_take(struct client *c, const char *data, size_t size, bool last, int64_t now);

/* loader_deflate.c */
void take_compressed(struct client *c, const char *data, size_t size, int64_t now);

/* loader_latency.c */
void note_latency(struct latency *l, int64_t ns);
int64_t latency_below(const struct latency *l, double share);

#endif
