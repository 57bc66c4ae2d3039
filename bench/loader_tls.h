/* TLS 1.3 on a client's socket. */

#ifndef LOADER_TLS_H
#define LOADER_TLS_H

#include <sys/types.h>

#include "loader_group.h"

/* Continue the handshake. Returns 1 when it is complete, 0 when the server has to answer first, -1 when it failed. */
int tls_handshake(struct client *c);

/* As recv(2): -1 with EAGAIN when nothing has arrived. Reads all records that have arrived and fit. */
ssize_t tls_receive(struct client *c, char *data, size_t size);

/* As send(2). */
ssize_t tls_send(struct client *c, const char *data, size_t size);

/* Free the connection; the session stays for the next one. */
void tls_close(struct client *c);

/* Free the session. */
void tls_discard_session(struct client *c);

#endif
