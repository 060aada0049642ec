using System.Runtime.InteropServices;
using static BlockMount.Attach.Fuse.FuseConstants;

namespace BlockMount.Attach.Fuse;

/// <summary>Requests about names and attributes: all answered from memory.</summary>
internal static unsafe class FuseNodeOperations
{
    public static void Lookup(FuseRequest request, ulong parent, byte* name)
    {
        var tree = request.Session.Tree;
        var inode = parent == FUSE_ROOT_ID ? tree.Find(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(name)) : 0;
        if (inode != 0 && tree.TryGetAttributes(inode, out var node))
        {
            request.Entry(node);
        }
        else
        {
            request.Error(ENOENT);
        }
    }

    public static void GetAttributes(FuseRequest request, ulong inode)
    {
        if (request.Session.Tree.TryGetAttributes(inode, out var node))
        {
            request.Attributes(node);
        }
        else
        {
            request.Error(ENOENT);
        }
    }

    /// <summary>Times may be set and are forgotten, so that copying tools do not complain; everything else is fixed.</summary>
    /// <param name="request">To be answered.</param>
    /// <param name="inode">Whose attributes.</param>
    /// <param name="size">The length asked for, when <paramref name="which"/> says that one is.</param>
    /// <param name="which">FUSE_SET_ATTR bits.</param>
    public static void SetAttributes(FuseRequest request, ulong inode, long size, int which)
    {
        var resizes = (which & FUSE_SET_ATTR_SIZE) != 0 && request.Session.Tree.File(inode)?.Length != size;
        if (resizes || (which & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0)
        {
            request.Error(EPERM);
            return;
        }

        GetAttributes(request, inode);
    }

    public static void Open(FuseRequest request, ulong inode, FuseFileInfo* info)
    {
        if (request.Session.Tree.File(inode) is not { } file)
        {
            request.Error(inode == FUSE_ROOT_ID ? EISDIR : ENOENT);
        }
        else if (file.IsReadOnly && (info->flags & O_ACCMODE) != O_RDONLY)
        {
            request.Error(EROFS);
        }
        else if ((info->flags & O_TRUNC) != 0 && file.Length != 0)
        {
            request.Error(EPERM);
        }
        else
        {
            // Several files are views of one device, and a device has other front ends: a page that the kernel kept for one view
            // would go stale behind a write through another. So nothing of a device is kept.
            info->bits |= file.Device is null ? keep_cache : direct_io | parallel_direct_writes;
            request.Opened(info);
        }
    }

    public static void ReadDirectory(FuseRequest request, nuint size, long index)
    {
        const int most = 65536;
        var limit = (int)Math.Min(size, most);
        var buffer = new NativeBuffer(limit);
        try
        {
            var used = 0;
            while (index >= 0 && request.Session.Tree.TryGetEntry(index, out var name, out var node))
            {
                var needed = request.AddDirectoryEntry(buffer, used, limit, name, node, index + 1);
                if (needed > limit - used)
                {
                    break;
                }

                used += needed;
                index++;
            }

            request.Data(buffer, 0, used);
        }
        finally
        {
            buffer.Free();
        }
    }

    public static void FileSystemFacts(FuseRequest request)
    {
        const uint blockSize = 4096;
        const uint longestName = 255;
        var tree = request.Session.Tree;
        var facts = new StatVfs { f_bsize = blockSize, f_frsize = blockSize, f_files = (ulong)tree.Files.Count + 1, f_namemax = longestName };

        // Several files are views of one another: the space is that of the largest.
        facts.f_blocks = (ulong)tree.Files.Select(file => file.Length).DefaultIfEmpty().Max() / blockSize;
        request.FileSystem(&facts);
    }

    public static void Access(FuseRequest request, ulong inode, int mask)
    {
        var file = request.Session.Tree.File(inode);
        if ((mask & W_OK) != 0 && file is not { IsReadOnly: false })
        {
            request.Error(EROFS);
        }
        else
        {
            request.Error((mask & X_OK) != 0 && file is not null ? EACCES : 0);
        }
    }
}
