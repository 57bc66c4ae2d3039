/* TLS 1.3 on a client's socket. The server's certificate is not verified: the benchmark has just made it. */

#include "loader_tls.h"

#include "loader_util.h"

#ifdef WITH_TLS

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

enum { READ_AHEAD = 32768 };

static SSL_CTX *context;

/* OpenSSL calls this when the server issues a session ticket; the newest one is kept. */
static int keep_session(SSL *tls, SSL_SESSION *session) {
    struct client *c = SSL_get_app_data(tls);
    tls_discard_session(c);
    c->session = session;
    return 1;
}

static void make_context(void) {
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)) die("TLS 1.3", "not available");
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    /* Idle clients hold no buffers; a read takes several records at once. */
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD);
    SSL_CTX_set_quiet_shutdown(context, 1);
}

static void begin(struct client *c) {
    if (!context) make_context();
    SSL *tls = SSL_new(context);
    if (!tls || !SSL_set_fd(tls, c->fd)) die("TLS", "no memory");
    SSL_set_app_data(tls, c);
    if (c->session) SSL_set_session(tls, c->session);
    c->tls = tls;
}

int tls_handshake(struct client *c) {
    if (!c->tls) begin(c);
    ERR_clear_error();
    int done = SSL_connect(c->tls);
    if (done == 1) {
        c->group->tls_resumed += SSL_session_reused(c->tls);
        return 1;
    }
    return SSL_get_error(c->tls, done) == SSL_ERROR_WANT_READ ? 0 : -1;
}

ssize_t tls_receive(struct client *c, char *data, size_t size) {
    size_t held = 0;
    while (held < size) {
        ERR_clear_error();
        int got = SSL_read(c->tls, data + held, size - held);
        if (got > 0) {
            held += got;
            continue;
        }
        if (held) return held;
        switch (SSL_get_error(c->tls, got)) {
        case SSL_ERROR_WANT_READ: errno = EAGAIN; return -1;
        case SSL_ERROR_ZERO_RETURN: return 0;
        case SSL_ERROR_SYSCALL: return errno ? -1 : 0;
        default: errno = EPROTO; return -1;
        }
    }
    return held;
}

ssize_t tls_send(struct client *c, const char *data, size_t size) {
    ERR_clear_error();
    return SSL_write(c->tls, data, size);
}

void tls_close(struct client *c) {
    if (!c->tls) return;
    /* Otherwise OpenSSL treats the connection as failed and does not resume its session. */
    SSL_set_shutdown(c->tls, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->tls);
    c->tls = NULL;
}

void tls_discard_session(struct client *c) {
    SSL_SESSION_free(c->session);
    c->session = NULL;
}

#else

int tls_handshake(struct client *c) {
    die("built without TLS", c->group->name);
    return -1;
}

ssize_t tls_receive(struct client *c, char *data, size_t size) {
    (void)c, (void)data, (void)size;
    return -1;
}

ssize_t tls_send(struct client *c, const char *data, size_t size) {
    (void)c, (void)data, (void)size;
    return -1;
}

void tls_close(struct client *c) { (void)c; }

void tls_discard_session(struct client *c) { (void)c; }

#endif
