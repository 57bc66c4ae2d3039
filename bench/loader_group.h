/* Groups of clients, and the counts of the messages that they received. */

#ifndef LOADER_GROUP_H
#define LOADER_GROUP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "loader_latency.h"

enum { HEAD = 1024, NAMES = 32, INSTANTS = 1024 };
enum kind { OPENED, EVENT, WELCOME, RESUMED, SNAPSHOT, RESET, GAP, ERROR, PONG, SUBSCRIBED, OTHER, KINDS };
enum state { IDLE, CONNECTING, TLS_HANDSHAKE, UPGRADING, OPEN, CLOSED };

/* The names of the kinds in commands and answers. */
extern const char *const KIND[KINDS];

/* Messages of one kind. reached[n]: the number of clients that have received at least n; low: the largest n that all
   clients have reached; at: when the last message arrived. */
struct tally {
    uint32_t *reached, capacity, low, high;
    uint64_t total;
    int64_t at;
};

struct group {
    char name[NAMES];
    struct sockaddr_in address;
    bool tls, resets, lines;
    char nats[NAMES]; /* the subject, if the server speaks the NATS protocol */
    struct client *clients;
    uint32_t size, capacity, started, pending, max_pending;
    struct tally kinds[KINDS];
    int awaited; /* a kind, or -1 */
    bool awaits_total;
    uint64_t wanted;
    uint64_t lost, disorder, gaps, mismatches, replayed, bytes, wire, tls_resumed, deflated;
    int64_t began;
    char error[200]; /* of the first client that was lost */
    FILE *capture;
    /* The send time of the latest events by seq: read from the message once for all clients. */
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
    /* The frame that is being received. */
    uint8_t header[10];
    char head[HEAD];
    uint32_t header_size, head_size;
    uint64_t size, missing;
    int64_t frame_at;
    char *whole; /* a compressed frame that arrives in several pieces */
    /* The last snapshot. */
    int64_t asked, first_byte, last_byte;
    uint64_t snapshot_size;
    /* TLS: the connection, and the session that the server issued for the next one. */
    void *tls, *session;
    /* The message that is being received, where messages and frames do not coincide: its first bytes, its size and, for
       NATS, the bytes still missing with the line end (0 within a protocol line). */
    char held[HEAD];
    uint32_t held_size;
    uint64_t message_missing, message_size;
    int64_t message_at; /* when the first of its frames arrived */
};

/* Append to c->held as much of data as fits. */
void append_held(struct client *c, const char *data, size_t size);

/* Count one message. */
void count(struct client *c, enum kind kind, int64_t now);

/* Set all counts and latencies of the group to 0; the seq of each client stays. */
void clear_counts(struct group *g);

/* Answer the group's await or total command if its condition holds or a client was lost. */
void answer_await(struct group *g);

#endif
