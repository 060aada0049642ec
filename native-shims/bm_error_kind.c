#include "bm_shim.h"

/* errno values differ between architectures; this is the only place that knows them. Takes errno or -errno. */
int32_t bm_error_kind(int32_t error)
{
    switch (error < 0 ? -error : error) {
    case ENOENT:
    case ENOTDIR:
        return BM_ERROR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return BM_ERROR_ACCESS;
    case EEXIST:
        return BM_ERROR_EXISTS;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return BM_ERROR_NO_SPACE;
    case EAGAIN:
        return BM_ERROR_WOULD_BLOCK;
    case EOPNOTSUPP:
    case ENOSYS:
    case ENOTTY:
        return BM_ERROR_UNSUPPORTED;
    case EBUSY:
        return BM_ERROR_BUSY;
    case EROFS:
        return BM_ERROR_READ_ONLY_FS;
    case ETXTBSY:
        return BM_ERROR_TEXT_BUSY;
    case EISDIR:
        return BM_ERROR_IS_DIRECTORY;
    case ELOOP:
        return BM_ERROR_LINK_LOOP;
    case EINVAL:
        return BM_ERROR_INVALID;
    case ENXIO:
        return BM_ERROR_NO_DATA;
    case EXDEV:
        return BM_ERROR_OTHER_FS;
    case ENODEV:
        return BM_ERROR_NO_DEVICE;
    default:
        return BM_ERROR_OTHER;
    }
}
