using BlockMount.Core.Errors;
using static BlockMount.Attach.Fuse.FuseConstants;

namespace BlockMount.Attach.Fuse;

/// <summary>The one flat directory: inode 1 is the directory, inode 2 + i is file i.</summary>
internal sealed class FuseTree
{
    private const ulong FirstFile = FUSE_ROOT_ID + 1;
    private readonly VirtualFile[] _files;
    private readonly NodeAttributes _root;
    private readonly bool _others;

    /// <exception cref="DiskException">Two files have the same name.</exception>
    public FuseTree(IReadOnlyList<VirtualFile> files, bool others, uint uid, uint gid)
    {
        _files = [.. files];
        _others = others;
        if (_files.GroupBy(file => file.Name, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"Two files of one mount are named \"{twice.Key}\"; names must differ.");
        }

        _root = new NodeAttributes(
            FUSE_ROOT_ID, S_IFDIR | (others ? 0x16Du : 0x140u), Links: 2, uid, gid, Size: 0, DateTimeOffset.UtcNow.ToUnixTimeSeconds());
    }

    public IReadOnlyList<VirtualFile> Files => _files;

    public bool IsReadOnly => Array.TrueForAll(_files, file => file.IsReadOnly);

    /// <summary>The file of an inode number, null for the directory and unknown numbers.</summary>
    public VirtualFile? File(ulong inode) => inode >= FirstFile && inode - FirstFile < (ulong)_files.Length ? _files[inode - FirstFile] : null;

    /// <summary>The inode number of a name, 0 when there is none.</summary>
    public ulong Find(ReadOnlySpan<byte> name)
    {
        for (var i = 0; i < _files.Length; i++)
        {
            if (_files[i].NameBytes.AsSpan(..^1).SequenceEqual(name))
            {
                return FirstFile + (ulong)i;
            }
        }

        return 0;
    }

    public bool TryGetAttributes(ulong inode, out NodeAttributes node)
    {
        node = _root;
        if (inode == FUSE_ROOT_ID)
        {
            return true;
        }

        if (File(inode) is not { } file)
        {
            return false;
        }

        // 0600 and 0400, or 0644 and 0444 when others may look.
        var mode = (file.IsReadOnly ? 0x100u : 0x180u) | (_others ? 0x24u : 0u);
        node = _root with { Inode = inode, Mode = S_IFREG | mode, Links = 1, Size = file.Length };
        return true;
    }

    /// <summary>Entry number <paramref name="index"/> of the directory: ".", "..", then the files.</summary>
    public bool TryGetEntry(long index, out ReadOnlySpan<byte> name, out NodeAttributes node)
    {
        name = index switch { 0 => ".\0"u8, 1 => "..\0"u8, _ when index - 2 < _files.Length => _files[index - 2].NameBytes, _ => [] };
        return TryGetAttributes(index < 2 ? FUSE_ROOT_ID : FirstFile + (ulong)(index - 2), out node);
    }
}
