#include "bm_shim.h"

#include <fcntl.h>

int32_t bm_fallocate(int32_t fd, int32_t mode, int64_t offset, int64_t length)
{
    int native;
    switch (mode) {
    case BM_ALLOCATE:
        native = 0;
        break;
    case BM_PUNCH_HOLE:
        native = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        break;
    case BM_ZERO_RANGE:
        native = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
        break;
    default:
        return -EINVAL;
    }

    int result;
    BM_RETRY(result, fallocate(fd, native, offset, length));
    return result == -1 ? -errno : 0;
}
