#include "bm_shim.h"

#include <sys/socket.h>

/* Bytes received, 0 at the end of the stream; -EAGAIN when none came in the socket's own time limit, or without wait are there now. */
int64_t bm_recv(int32_t socket, void *buffer, uint64_t length, int32_t wait)
{
    ssize_t done;
    BM_RETRY(done, recv(socket, buffer, length, wait ? 0 : MSG_DONTWAIT));
    return done == -1 ? -(int64_t)errno : done;
}
