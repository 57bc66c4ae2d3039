/* permessage-deflate (RFC 7692), for servers that compress each message by itself, once for all clients. A message that
   many clients receive is inflated once: equal bytes are recognised by comparison. */

#include "loader_deflate.h"

#include "loader_socket.h"

#ifdef WITH_ZLIB

#include <string.h>
#include <zlib.h>

#include "loader_message.h"
#include "loader_util.h"

enum { CACHED = 512, SCRATCH = 65536 };

struct inflated {
    uint32_t size, shown;
    uint64_t text_size;
    char data[HEAD], text[HEAD];
};

static struct inflated cache[CACHED];
static z_stream inflater;
static bool ready;

static struct inflated *cache_entry(const char *data, size_t size) {
    uint64_t hash = size;
    for (size_t i = size > 64 ? size - 64 : 0; i < size; i++) hash = hash * 31 + (uint8_t)data[i];
    return &cache[hash % CACHED];
}

/* Inflate more input; output that does not fit into text is only counted. */
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
    /* RFC 7692 section 7.2.1: the sender removes these four bytes. */
    return feed(data, size, into) && feed("\0\0\377\377", 4, into);
}

void handle_compressed(struct client *c, const char *data, size_t size, int64_t now) {
    static struct inflated large;
    struct inflated *found = size <= HEAD ? cache_entry(data, size) : &large;
    if (found->size != size || size > HEAD || memcmp(found->data, data, size)) {
        if (!inflate_into(data, size, found)) {
            fail(c, "a compressed message is not complete in itself");
            return;
        }
        if (size <= HEAD) {
            memcpy(found->data, data, size);
            found->size = size;
        }
    }
    handle_message(c, found->text, found->shown, found->text_size, now);
}

#else

void handle_compressed(struct client *c, const char *data, size_t size, int64_t now) {
    (void)data, (void)size, (void)now;
    fail(c, "a compressed message, but the loader was built without zlib");
}

#endif
