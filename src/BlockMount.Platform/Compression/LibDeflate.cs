using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using BlockMount.Core.Compression;
using BlockMount.Core.Errors;

namespace BlockMount.Platform.Compression;

/// <summary>
/// libdeflate, which works on whole buffers and is about twice as fast as zlib (libdeflate.h, version 1.0 and later: <c>libdeflate.so.0</c>).
/// </summary>
/// <remarks>
/// Safe because the library is told the length of each buffer and stays inside (it is made for hostile streams), buffers are pinned for the
/// call, and a state, which holds no more than scratch memory, is taken out of its bag for the call so that no two threads share it.
/// </remarks>
internal sealed unsafe class LibDeflate : ZlibCodec
{
    /// <summary>What the host's loader knows the library as.</summary>
    public const string SoName = "libdeflate.so.0";

    private const int Level = 6;

    // enum libdeflate_result
    private const int Success = 0;
    private const int InsufficientSpace = 3;

    private readonly ConcurrentBag<nint> _decompressors = [];
    private readonly ConcurrentBag<nint> _compressors = [];
    private readonly delegate* unmanaged<nint> _allocDecompressor;
    private readonly delegate* unmanaged<nint, byte*, nuint, byte*, nuint, nuint*, nuint*, int> _decompress;
    private readonly delegate* unmanaged<int, nint> _allocCompressor;
    private readonly delegate* unmanaged<nint, nuint, nuint> _bound;
    private readonly delegate* unmanaged<nint, byte*, nuint, byte*, nuint, nuint> _compress;

    private LibDeflate(nint library)
    {
        _allocDecompressor = (delegate* unmanaged<nint>)NativeLibrary.GetExport(library, "libdeflate_alloc_decompressor");
        _decompress = (delegate* unmanaged<nint, byte*, nuint, byte*, nuint, nuint*, nuint*, int>)NativeLibrary.GetExport(library, "libdeflate_zlib_decompress_ex");
        _allocCompressor = (delegate* unmanaged<int, nint>)NativeLibrary.GetExport(library, "libdeflate_alloc_compressor");
        _bound = (delegate* unmanaged<nint, nuint, nuint>)NativeLibrary.GetExport(library, "libdeflate_zlib_compress_bound");
        _compress = (delegate* unmanaged<nint, byte*, nuint, byte*, nuint, nuint>)NativeLibrary.GetExport(library, "libdeflate_zlib_compress");
    }

    /// <summary>Null where the host lacks the library.</summary>
    public static LibDeflate? Find()
    {
        try
        {
            return NativeLibrary.TryLoad(SoName, out var library) ? new LibDeflate(library) : null;
        }
        catch (EntryPointNotFoundException)
        {
            return null;
        }
    }

    public override InflateStatus Inflate(ReadOnlySpan<byte> source, Span<byte> target, out int written)
    {
        var state = _decompressors.TryTake(out var free) ? free : Made(_allocDecompressor());
        nuint used, count;
        int result;
        fixed (byte* from = source, to = target)
        {
            result = _decompress(state, from, (nuint)source.Length, to, (nuint)target.Length, &used, &count);
        }

        _decompressors.Add(state);
        written = result == Success ? (int)count : 0;
        return result switch { Success => InflateStatus.Done, InsufficientSpace => InflateStatus.TooLong, _ => InflateStatus.Damaged };
    }

    /// <summary>Any state of the level gives the same bound; null stands for the largest of all levels.</summary>
    public override int BoundFor(int length) => checked((int)_bound(0, (nuint)length));

    public override int Deflate(ReadOnlySpan<byte> source, Span<byte> target)
    {
        var state = _compressors.TryTake(out var free) ? free : Made(_allocCompressor(Level));
        nuint count;
        fixed (byte* from = source, to = target)
        {
            count = _compress(state, from, (nuint)source.Length, to, (nuint)target.Length);
        }

        _compressors.Add(state);
        return count > 0 ? (int)count : throw new ArgumentException($"{target.Length} bytes are fewer than the bound.", nameof(target));
    }

    private static nint Made(nint state) => state != 0 ? state : throw new DiskException(ErrorKind.Io, "This host has no memory left for libdeflate's state.");
}
