#include "bm_shim.h"

#include <sys/uio.h>

/* Bytes that were in the page cache, from the start of the range; -EAGAIN when the first one was not. */
int64_t bm_pread_nowait(int32_t fd, void *buffer, uint64_t length, int64_t offset)
{
    struct iovec part = { .iov_base = buffer, .iov_len = length };
    ssize_t done;
    BM_RETRY(done, preadv2(fd, &part, 1, offset, RWF_NOWAIT));
    return done == -1 ? -(int64_t)errno : done;
}
