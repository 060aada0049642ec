#include "bm_shim.h"

#include <unistd.h>

/*
 * First byte of data, or of a hole, at or after the offset; -ENXIO when there is none. Moves the file position, which nothing
 * else here reads.
 */
int64_t bm_seek(int32_t fd, int32_t kind, int64_t offset)
{
    off_t found;
    BM_RETRY(found, lseek(fd, offset, kind == BM_SEEK_DATA ? SEEK_DATA : SEEK_HOLE));
    return found == -1 ? -(int64_t)errno : found;
}
