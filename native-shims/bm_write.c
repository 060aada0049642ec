#include "bm_shim.h"

#include <limits.h>
#include <unistd.h>

/*
 * Bytes written. At most as many as a pipe that poll(2) called writable takes at once (pipe(7), PIPE_BUF), so that a write never waits
 * where nothing can wake it; the descriptor may be shared with others, so it is not made non-blocking.
 */
int64_t bm_write(int32_t fd, const void *buffer, uint64_t length)
{
    ssize_t done;
    BM_RETRY(done, write(fd, buffer, length < PIPE_BUF ? length : PIPE_BUF));
    return done == -1 ? -(int64_t)errno : done;
}
