#include "bm_shim.h"

#include <unistd.h>

/* Bytes read, or 0 at the end. */
int64_t bm_read(int32_t fd, void *buffer, uint64_t length)
{
    ssize_t done;
    BM_RETRY(done, read(fd, buffer, length));
    return done == -1 ? -(int64_t)errno : done;
}
