/* permessage-deflate (RFC 7692), for servers that compress a message once for everybody: each message is inflated by
   itself. What many clients got is inflated once: the same bytes again are recognised by comparing them. */

#include "loader.h"

#ifdef WITH_ZLIB

#include <string.h>
#include <zlib.h>

enum { KNOWN = 512, SCRATCH = 65536 };

struct inflated {
    uint32_t size, shown;
    uint64_t text_size;
    char data[HEAD], text[HEAD];
};

static struct inflated known[KNOWN];
static z_stream inflater;
static bool ready;

static struct inflated *place_of(const char *data, size_t size) {
    uint64_t mixed = size;
    for (size_t i = size > 64 ? size - 64 : 0; i < size; i++) mixed = mixed * 31 + (uint8_t)data[i];
    return &known[mixed % KNOWN];
}

/* Inflate more; what does not fit into text is counted only. */
static bool feed(const char *data, size_t size, struct inflated *into) {
    static char scratch[SCRATCH];
    inflater.next_in = (Bytef *)data;
    inflater.avail_in = size;
    do {
        inflater.next_out = (Bytef *)scratch;
        inflater.avail_out = sizeof scratch;
        int result = inflate(&inflater, Z_SYNC_FLUSH);
        if (result != Z_OK && result != Z_BUF_ERROR) return false;
        size_t made = sizeof scratch - inflater.avail_out;
        size_t kept = made < HEAD - into->shown ? made : HEAD - into->shown;
        memcpy(into->text + into->shown, scratch, kept);
        into->shown += kept;
        into->text_size += made;
    } while (inflater.avail_in || !inflater.avail_out);
    return true;
}

static bool inflate_into(const char *data, size_t size, struct inflated *into) {
    if (!ready && inflateInit2(&inflater, -MAX_WBITS) != Z_OK) die("zlib", "inflateInit2");
    ready = true;
    inflateReset(&inflater);
    into->shown = into->text_size = into->size = 0;
    /* The four bytes that a sender leaves out: section 7.2.1. */
    return feed(data, size, into) && feed("\0\0\377\377", 4, into);
}

void take_compressed(struct client *c, const char *data, size_t size, int64_t now) {
    static struct inflated large;
    struct inflated *found = size <= HEAD ? place_of(data, size) : &large;
    if (found->size != size || size > HEAD || memcmp(found->data, data, size)) {
        if (!inflate_into(data, size, found)) {
            lose(c, "a compressed message is not complete in itself");
            return;
        }
        if (size <= HEAD) {
            memcpy(found->data, data, size);
            found->size = size;
        }
    }
    take_message(c, found->text, found->shown, found->text_size, now);
}

#else

void take_compressed(struct client *c, const char *data, size_t size, int64_t now) {
    (void)data, (void)size, (void)now;
    lose(c, "a compressed message, and zlib is not there");
}

#endif
