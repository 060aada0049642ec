using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Machines;
using BlockMount.Core.Partitions;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Tests.Hostile;

/// <summary>What became of a mutant.</summary>
internal enum MutantFate
{
    /// <summary>A sentence told what is wrong with it.</summary>
    Refused,

    /// <summary>It no longer looks like its format and was opened as another.</summary>
    Other,

    /// <summary>It was read.</summary>
    Opened,

    /// <summary>It was read and written to.</summary>
    Written,
}

/// <summary>Does with one mutant what the program does with an image, and fails when it does not end in an answer or a sentence.</summary>
internal sealed class MutantCheck(HostileSeed seed, IReadOnlyDictionary<string, HostileFile> files, Random random)
{
    private const int MostMessage = 10_000;
    private const int MapSteps = 2000;
    private const int MostMapped = 600;

    private readonly HostileHost _host = new(files);
    private readonly byte[] _buffer = new byte[8192];

    /// <summary>Bytes that opening and looking may allocate: so many times the length of the files, and a fixed part.</summary>
    public static long MemoryBound(long length) => (24 * length) + (6 << 20);

    /// <summary>Bytes that opening and looking did allocate.</summary>
    public long Allocated { get; private set; }

    public long FileLength { get; } = files.Values.Sum(static f => f.Length);

    public async Task<MutantFate> RunAsync(bool write)
    {
        var fate = seed.Format == "vbox" ? ReadMachine() : await ReadImageAsync();
        Require(_host.Changes == 0, "reading it changed a file");
        Require(Allocated <= MemoryBound(FileLength), $"opening {FileLength} bytes of files allocated {Allocated}");
        if (write && fate == MutantFate.Opened && seed.Format != "vbox" && await new MutantWriting(_host, seed, random, CheckMessage).RunAsync())
        {
            fate = MutantFate.Written;
        }

        Require(_host.Violation is null, _host.Violation ?? string.Empty);
        return fate;
    }

    private static void Require(bool holds, string what)
    {
        if (!holds)
        {
            throw new InvalidOperationException(what);
        }
    }

    /// <summary>A message is one printable sentence of bounded length.</summary>
    private static void CheckMessage(DiskException error)
    {
        CheckSentence(error.Message);
        Require(error.Kind is not (ErrorKind.PreviousFailure or ErrorKind.ShuttingDown or ErrorKind.OutOfRange), $"{error.Kind}: {error.Message}");
    }

    private static void CheckSentence(string message)
    {
        Require(message.Length is > 10 and < MostMessage, $"a message of {message.Length} characters: {message[..Math.Min(200, message.Length)]}");
        Require(!message.Any(char.IsControl), $"a control character in a message: {message}");
        Require(message.EndsWith('.'), $"a message that does not end as a sentence: {message}");
    }

    private MutantFate ReadMachine()
    {
        var file = files[seed.Target];
        var bytes = file.Read(0, (int)file.Length);
        var before = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            var machine = VBoxMachineFile.Parse(bytes, seed.Target);
            foreach (var disk in machine.Disks)
            {
                Require(machine.ChainOf(disk.Uuid).Count > 0, "a registered disk without a chain");
            }

            machine.SelectDisk(null);
        }
        catch (DiskException e) when (e.Kind == ErrorKind.InvalidArgument)
        {
            // The machine was read and has no disk, or several.
            CheckMessage(e);
        }
        catch (DiskException e)
        {
            CheckMessage(e);
            return MutantFate.Refused;
        }
        finally
        {
            Allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        }

        return MutantFate.Opened;
    }

    private async Task<MutantFate> ReadImageAsync()
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        await ProbeAsync();
        ChainInspection inspection;
        try
        {
            var options = new ChainOpenOptions { ReadOnly = true, Format = random.Next(3) == 0 ? seed.Format : null };
            inspection = await new ChainOpener(_host).InspectAsync(seed.Leaf, options);
        }
        catch (DiskException e)
        {
            CheckMessage(e);
            Allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            return MutantFate.Refused;
        }

        foreach (var layer in inspection.Layers)
        {
            CheckDescription(layer.Describe());
            await layer.ExamineAsync(default);
            CheckDescription(layer.Describe());
        }

        if (inspection.Broken is { } broken)
        {
            CheckMessage(broken);
            Allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            foreach (var layer in inspection.Layers)
            {
                await layer.DisposeAsync();
            }

            return MutantFate.Refused;
        }

        await using var chain = new DiskChain(inspection.Layers);
        Allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        await MapAsync(chain);
        await ReadPiecesAsync(chain);
        if (seed.Format == "raw" || random.Next(16) == 0)
        {
            await ReadPartitionsAsync(chain);
        }

        return inspection.Layers[^1].Describe().Format == seed.Format ? MutantFate.Opened : MutantFate.Other;
    }

    /// <summary>Probing and reading links throws on no content at all.</summary>
    private async Task ProbeAsync()
    {
        await using var store = await _host.OpenAsync(seed.Target, StoreAccess.Probe);
        foreach (var format in FormatRegistry.All)
        {
            Require(await format.ProbeAsync(store, default) is >= 0 and <= 100, $"{format.Name} is too sure");
            await format.ReadLinksAsync(store, default);
        }
    }

    private void CheckDescription(ImageDescription facts)
    {
        Require(facts.Capacity >= 0 && facts.Allocated >= 0 && facts.FileSize >= 0, $"negative sizes: {facts}");
        foreach (var finding in facts.Diagnostics)
        {
            CheckSentence(finding.Message);
        }
    }

    private async Task MapAsync(DiskChain chain)
    {
        long at = 0;
        for (var step = 0; step < MapSteps && at < chain.Length; step++)
        {
            // Where there is more to map than anybody waits for, it goes on elsewhere.
            at = step < MostMapped ? at : at + random.NextInt64(chain.Length - at);
            DiskExtent extent;
            try
            {
                extent = await chain.MapAsync(at, chain.Length - at);
            }
            catch (DiskException e)
            {
                CheckMessage(e);
                at += Math.Min(512 << random.Next(12), chain.Length - at);
                continue;
            }

            Require(extent.Start == at && extent.Length > 0 && extent.Length <= chain.Length - at, $"a map of {extent} at {at} of {chain.Length}");
            Require(
                extent.ImageOffset is not { } place || place <= files[extent.Image!].Length - extent.Length,
                $"a map of {extent}, past the end of its file of {(extent.Image is { } image ? files[image].Length : 0)}");
            at += extent.Length;
        }
    }

    private async Task ReadPiecesAsync(DiskChain chain)
    {
        for (var i = 0; i < 6 && chain.Length > 0; i++)
        {
            var length = (int)Math.Min(chain.Length, random.Next(1, _buffer.Length));
            var at = i switch { 0 => 0, 1 => chain.Length - length, _ => random.NextInt64(chain.Length - length + 1) };
            try
            {
                await chain.ReadAsync(at, _buffer.AsMemory(0, length));
            }
            catch (DiskException e)
            {
                CheckMessage(e);
            }
        }
    }

    private static async Task ReadPartitionsAsync(DiskChain chain)
    {
        try
        {
            var table = await PartitionTable.ReadAsync(chain);
            foreach (var partition in table.Partitions)
            {
                Require(partition.Start >= 0 && partition.Length > 0 && partition.Length <= chain.Length - partition.Start, $"a partition outside the disk: {partition}");
            }

            foreach (var finding in table.Diagnostics)
            {
                CheckSentence(finding.Message);
            }
        }
        catch (DiskException e)
        {
            CheckMessage(e);
        }
    }
}
