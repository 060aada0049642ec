#include "bm_shim.h"

#include <unistd.h>

/* Bytes written, possibly fewer than asked. */
int64_t bm_pwrite(int32_t fd, const void *buffer, uint64_t length, int64_t offset)
{
    ssize_t done;
    BM_RETRY(done, pwrite(fd, buffer, length, offset));
    return done == -1 ? -(int64_t)errno : done;
}
