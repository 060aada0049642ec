#include "bm_shim.h"

#include <sys/socket.h>

/* Bytes that the socket took, without waiting; -EAGAIN when it takes none now. A peer that is gone is an error, not a signal. */
int64_t bm_send(int32_t socket, const void *data, uint64_t length)
{
    ssize_t done;
    BM_RETRY(done, send(socket, data, length, MSG_DONTWAIT | MSG_NOSIGNAL));
    return done == -1 ? -(int64_t)errno : done;
}
