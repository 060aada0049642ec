using BlockMount.Core.Compression;
using BlockMount.Platform.Compression;
using BlockMount.Platform.Files;

namespace BlockMount.Platform.Tests;

public sealed class ZlibTests
{
    private static readonly string[] Names = ["runtime", "libdeflate"];

    public static TheoryData<string, string> Pairs
    {
        get
        {
            var pairs = new TheoryData<string, string>();
            foreach (var from in Names)
            {
                foreach (var to in Names)
                {
                    pairs.Add(from, to);
                }
            }

            return pairs;
        }
    }

    [Theory]
    [MemberData(nameof(Pairs))]
    public void What_one_codec_compresses_each_inflates(string from, string to)
    {
        foreach (var (length, kind) in new[] { (1, 0), (512, 1), (65536, 0), (65536, 1), (65536, 2), (1 << 20, 2), (4096, 1) })
        {
            var bytes = Content(length, kind);
            var target = new byte[Codec(from).BoundFor(length)];
            var size = Codec(from).Deflate(bytes, target);
            Assert.True(kind != 1 || length < 4096 || size < length / 10);

            // What lies behind the stream does not matter.
            var inflated = new byte[length];
            Assert.Equal(InflateStatus.Done, Codec(to).Inflate([.. target.AsSpan(0, size), 1, 2, 3], inflated, out var written));
            Assert.Equal(length, written);
            Assert.Equal(bytes, inflated);

            // More room than needed is no fault.
            Assert.Equal(InflateStatus.Done, Codec(to).Inflate(target.AsSpan(0, size), new byte[length + 100], out written));
            Assert.Equal(length, written);
        }
    }

    [Theory]
    [InlineData("runtime")]
    [InlineData("libdeflate")]
    public void A_stream_that_is_too_long_cut_off_or_changed_is_told_from_a_good_one(string name)
    {
        var codec = Codec(name);
        var bytes = Content(65536, 2);
        var target = new byte[codec.BoundFor(bytes.Length)];
        var stream = target.AsSpan(0, codec.Deflate(bytes, target)).ToArray();
        var room = new byte[65536];

        Assert.Equal(InflateStatus.TooLong, codec.Inflate(stream, room.AsSpan(0, 65535), out _));
        foreach (var cut in new[] { 0, 1, 2, 100, stream.Length / 2, stream.Length - 5 })
        {
            Assert.NotEqual((InflateStatus.Done, 65536), (codec.Inflate(stream.AsSpan(0, cut), room, out var written), written));
        }

        foreach (var place in new[] { 0, 1, 50, stream.Length / 2, stream.Length - 1 })
        {
            var changed = (byte[])stream.Clone();
            changed[place] ^= 0x10;
            Assert.NotEqual(InflateStatus.Done, codec.Inflate(changed, room, out _));
        }
    }

    [Fact]
    public void A_host_with_libdeflate_uses_it_from_any_number_of_threads()
    {
        Peer.Require(LibDeflate.Find() is not null, "libdeflate is not installed (package libdeflate0)");
        var codec = new FileStoreProvider().Zlib;
        Assert.IsType<LibDeflate>(codec);

        Parallel.For(0, 64, i =>
        {
            var bytes = Content(10_000 + i, 2);
            var target = new byte[codec.BoundFor(bytes.Length)];
            var size = codec.Deflate(bytes, target);
            var inflated = new byte[bytes.Length];
            Assert.Equal(InflateStatus.Done, codec.Inflate(target.AsSpan(0, size), inflated, out _));
            Assert.Equal(bytes, inflated);
        });
    }

    private static ZlibCodec Codec(string name)
    {
        if (name == "runtime")
        {
            return ZlibCodec.Managed;
        }

        var found = LibDeflate.Find();
        Peer.Require(found is not null, "libdeflate is not installed (package libdeflate0)");
        return found!;
    }

    /// <summary>Random bytes, one byte repeated, or both.</summary>
    private static byte[] Content(int length, int kind)
    {
        var bytes = new byte[length];
        new Random(length).NextBytes(bytes.AsSpan(0, kind switch { 0 => length, 1 => 0, _ => length / 2 }));
        return bytes;
    }
}
