/* What clients get: frames (RFC 6455 section 5.2), and the messages in them. */

#define _GNU_SOURCE
#include "loader.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { LARGEST = 1 << 24 };

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

static uint64_t number_after(const char *name, const char *p, const char *end) {
    const char *found = memmem(p, end - p, name, strlen(name));
    return found ? strtoull(found + strlen(name), NULL, 10) : UINT64_MAX;
}

static void time_event(struct group *g, uint64_t seq, const char *p, const char *end, int64_t now) {
    uint64_t place = seq % INSTANTS;
    if (g->instants[place].seq != seq) {
        uint64_t sent = number_after("\"sent_ns\":", p, end);
        g->instants[place].seq = seq;
        g->instants[place].sent = sent == UINT64_MAX ? 0 : (int64_t)sent;
    }
    if (g->instants[place].sent) note_latency(&g->latency, now - g->instants[place].sent);
}

static void take_event(struct client *c, uint64_t seq, int64_t now) {
    uint64_t expected = c->seq ? c->seq + 1 : c->first;
    if (seq <= c->seq || seq < c->first) c->group->disorder++;
    else if (expected && seq != expected) c->group->gaps += seq - expected;
    c->seq = seq;
    count(c, EVENT, now);
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

ssize_t transmit(struct client *c, const char *data, size_t size) {
    return c->tls ? tls_send(c, data, size) : send(c->fd, data, size, MSG_NOSIGNAL);
}

void say(struct client *c, int opcode, const char *text, size_t size) {
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
    if (transmit(c, frame, size) != (ssize_t)size) lose(c, "a message could not be sent");
}

/* A message of that size, of which the beginning is shown. */
void take_message(struct client *c, const char *text, size_t shown, uint64_t size, int64_t now) {
    const char *end = text + shown, *type;
    size_t type_size;
    c->group->bytes += size;
    uint64_t seq = seq_of(text, end, &type, &type_size);
    if (seq) {
        time_event(c->group, seq, text, end, now);
        take_event(c, seq, now);
    } else {
        take_control(c, type, type_size, text, end, now);
    }
}

static void take_frame(struct client *c, const char *payload, size_t shown, int64_t now) {
    switch (c->header[0]) {
    case 0x81:
    case 0x82: take_message(c, payload, shown, c->size, now); return;
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

/* The part of a compressed frame; it is needed as a whole. */
static void take_compressed_part(struct client *c, const char *data, size_t here, bool whole, int64_t now) {
    if (whole) {
        take_compressed(c, data, here, now);
    } else if (c->size > LARGEST) {
        lose(c, "a compressed frame of more than 16 MiB");
    } else {
        if (!c->whole) c->whole = grown(NULL, c->size);
        memcpy(c->whole + c->size - c->missing, data, here);
        if (here < c->missing) return;
        take_compressed(c, c->whole, c->size, now);
        free(c->whole);
        c->whole = NULL;
    }
}

/* The part of a frame that needs more than its head; false if it is none. */
static bool take_special_part(struct client *c, const char *data, size_t here, bool whole, int64_t now) {
    uint8_t opcode = c->header[0] & 0x0F;
    if (opcode >= 8) return false;
    if (c->group->nats[0]) nats_take(c, data, here, now);
    else if (c->group->lines) lines_take(c, data, here, here == c->missing && c->header[0] & 0x80, now);
    else if (c->deflates && c->header[0] == 0xC1) take_compressed_part(c, data, here, whole, now);
    else return false;
    return true;
}

/* The payload's part in data; of a frame that does not come in one piece only the head is kept. */
static size_t take_payload(struct client *c, const char *data, size_t size, int64_t now) {
    size_t here = size < c->missing ? size : c->missing;
    bool whole = c->missing == c->size && here == c->size;
    if (take_special_part(c, data, here, whole, now)) {
        c->missing -= here;
        if (c->missing == 0) c->header_size = 0;
        return here;
    }
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

void take_bytes(struct client *c, const char *data, size_t size, int64_t now) {
    c->group->wire += size;
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
