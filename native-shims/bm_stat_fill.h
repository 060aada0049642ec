#ifndef BM_STAT_FILL_H
#define BM_STAT_FILL_H

#include "bm_shim.h"

#include <sys/stat.h>

static inline uint32_t bm_stat_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return BM_TYPE_FILE;
    case S_IFDIR:
        return BM_TYPE_DIRECTORY;
    case S_IFBLK:
        return BM_TYPE_BLOCK_DEVICE;
    case S_IFCHR:
        return BM_TYPE_CHARACTER_DEVICE;
    case S_IFIFO:
        return BM_TYPE_FIFO;
    case S_IFSOCK:
        return BM_TYPE_SOCKET;
    case S_IFLNK:
        return BM_TYPE_SYMLINK;
    default:
        return BM_TYPE_OTHER;
    }
}

static inline void bm_stat_fill(const struct stat *from, struct bm_file_facts *to)
{
    to->size = (uint64_t)from->st_size;
    to->device = (uint64_t)from->st_dev;
    to->inode = (uint64_t)from->st_ino;
    to->blocks = (uint64_t)from->st_blocks;
    to->modified_ns = (int64_t)from->st_mtim.tv_sec * 1000000000 + from->st_mtim.tv_nsec;
    to->owner = from->st_uid;
    to->permissions = from->st_mode & 07777;
    to->type = bm_stat_type(from->st_mode);
    to->represents = (uint32_t)from->st_rdev;
}

#endif
