namespace BlockMount.Platform.Tests;

/// <summary>A loop device with MBR partitions of 2 MiB each that the kernel knows, released with it. Root only.</summary>
internal sealed class PartitionedLoop : IDisposable
{
    private readonly TestMount _loop;

    private PartitionedLoop(TestMount loop) => _loop = loop;

    public string Path => _loop.Path;

    public string First => this[1];

    public string Second => this[2];

    public string this[int number] => $"{Path}p{number}";

    public static async Task<PartitionedLoop> CreateAsync(string file, int partitions = 2, params string[] options)
    {
        Peer.Require("sfdisk", "fdisk");
        Peer.Require("partx", "util-linux");
        Peer.RequireRoot();

        // More than four need the label that has room for them.
        await Peer.RunOkAsync("truncate", "-s", $"{(partitions * 2) + 4}M", file);
        var loop = await TestMount.LoopAsync(file, options);
        try
        {
            var table = $"label: {(partitions > 4 ? "gpt" : "dos")}\n" + string.Concat(Enumerable.Repeat("size=2M\n", partitions));
            var result = await Peer.RunAsync("sfdisk", ["--no-reread", "--no-tell-kernel", "-q", loop.Path], table);
            Assert.True(result.ExitCode == 0, result.Error);

            // A kernel that parses tables by itself may have been faster.
            await Peer.RunOkAsync("partx", "--update", loop.Path);
            return new(loop);
        }
        catch
        {
            loop.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        Peer.RunAsync("partx", ["--delete", Path]).GetAwaiter().GetResult();
        _loop.Dispose();
    }
}
