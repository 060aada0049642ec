#include "bm_shim.h"

#include <fcntl.h>
#include <sys/stat.h>

/* What direct I/O wants the address of a buffer to be a multiple of, in bytes; 0 where the kernel does not tell (before Linux 6.1). */
int32_t bm_direct_alignment(int32_t fd)
{
#ifdef STATX_DIOALIGN
    struct statx found;
    int result;
    BM_RETRY(result, statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &found));
    if (result == 0 && (found.stx_mask & STATX_DIOALIGN) != 0) {
        return (int32_t)found.stx_dio_mem_align;
    }
#else
    (void)fd;
#endif
    return 0;
}
