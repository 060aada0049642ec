#include "bm_shim.h"

#include <unistd.h>

/* 1 when it was set since the last call, else 0. */
int32_t bm_event_clear(int32_t fd)
{
    uint64_t count;
    ssize_t done;
    BM_RETRY(done, read(fd, &count, sizeof count));
    return done == -1 ? (errno == EAGAIN ? 0 : -errno) : 1;
}
