#include "bm_shim.h"

#include <unistd.h>

/* Bytes read; fewer than asked, or 0, at the end of the file. */
int64_t bm_pread(int32_t fd, void *buffer, uint64_t length, int64_t offset)
{
    ssize_t done;
    BM_RETRY(done, pread(fd, buffer, length, offset));
    return done == -1 ? -(int64_t)errno : done;
}
