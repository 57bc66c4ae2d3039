/* WebSocket frames (RFC 6455 section 5.2). */

#include "loader_frame.h"

#include <stdlib.h>
#include <string.h>

#include "loader_deflate.h"
#include "loader_lines.h"
#include "loader_message.h"
#include "loader_nats.h"
#include "loader_socket.h"
#include "loader_util.h"

enum { MAX_COMPRESSED_BYTES = 1 << 24 };

/* A part of a message in several frames (RFC 6455 section 5.4); control frames may come between the parts. */
static void handle_part(struct client *c, const char *payload, size_t shown, int64_t now) {
    if (c->header[0] == 0x01) {
        c->held_size = 0;
        c->message_size = 0;
        c->message_at = c->frame_at;
    }
    append_held(c, payload, shown);
    c->message_size += c->size;
    if (c->header[0] != 0x80) return;
    c->frame_at = c->message_at;
    c->size = c->message_size;
    handle_message(c, c->held, c->held_size, c->message_size, now);
    c->held_size = 0;
}

static void handle_frame(struct client *c, const char *payload, size_t shown, int64_t now) {
    switch (c->header[0]) {
    case 0x81:
    case 0x82: handle_message(c, payload, shown, c->size, now); return;
    case 0x01:
    case 0x00:
    case 0x80: handle_part(c, payload, shown, now); return;
    case 0x89: send_frame(c, 0xA, payload, shown); return;
    case 0x8A: return;
    case 0x88:
        if (shown < 2) fail(c, "closed without a code");
        else fail(c, "closed with %d", (uint8_t)payload[0] << 8 | (uint8_t)payload[1]);
        return;
    default: fail(c, "a frame that begins with 0x%02x", c->header[0]);
    }
}

static void capture(struct client *c, const char *data, size_t size, bool complete) {
    FILE *file = c->group->capture;
    uint8_t first = c->header[0];
    if (!file || (first != 0x81 && first != 0x01 && first != 0x00 && first != 0x80)) return;
    fwrite(data, 1, size, file);
    if (complete && first & 0x80) fputc('\n', file);
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

/* Part of a compressed frame, which has to be complete before it is inflated. */
static void receive_compressed(struct client *c, const char *data, size_t here, bool whole, int64_t now) {
    if (whole) {
        handle_compressed(c, data, here, now);
    } else if (c->size > MAX_COMPRESSED_BYTES) {
        fail(c, "a compressed frame of more than 16 MiB");
    } else {
        if (!c->whole) c->whole = resize(NULL, c->size);
        memcpy(c->whole + c->size - c->missing, data, here);
        if (here < c->missing) return;
        handle_compressed(c, c->whole, c->size, now);
        free(c->whole);
        c->whole = NULL;
    }
}

/* Handle part of a frame of which more than the first bytes is needed; return false if this is not such a frame. */
static bool receive_special(struct client *c, const char *data, size_t here, bool whole, int64_t now) {
    uint8_t opcode = c->header[0] & 0x0F;
    if (opcode >= 8) return false;
    if (c->group->nats[0]) nats_receive(c, data, here, now);
    else if (c->group->lines) lines_receive(c, data, here, here == c->missing && c->header[0] & 0x80, now);
    else if (c->deflates && c->header[0] == 0xC1) receive_compressed(c, data, here, whole, now);
    else return false;
    return true;
}

/* Handle the part of the payload that is in data and return its size. Of a frame that arrives in several pieces only
   the first bytes are kept. */
static size_t receive_payload(struct client *c, const char *data, size_t size, int64_t now) {
    size_t here = size < c->missing ? size : c->missing;
    bool whole = c->missing == c->size && here == c->size;
    if (receive_special(c, data, here, whole, now)) {
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
        handle_frame(c, whole ? data : c->head, whole ? here : c->head_size, now);
        c->header_size = 0;
    }
    return here;
}

void receive_frames(struct client *c, const char *data, size_t size, int64_t now) {
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
        size_t used = receive_payload(c, data, size, now);
        data += used;
        size -= used;
    }
}
