using System.Text;
using BlockMount.Core.Errors;

namespace BlockMount.Core.Tests.RawDisks;

/// <summary>Descriptors of devices put together at random, and good ones with bytes changed: each opens, or is refused in a sentence.</summary>
public sealed class RawVmdkFuzzTests
{
    private static readonly string[] Names =
        ["/dev/sda", "/dev/sda1", "/dev/sda5", "/dev/sdb", "x-pt.vmdk", "x.vmdk", "/etc/shadow", "../dev/sda", "\\\\.\\PhysicalDrive0", "/dev/../dev/sda2", "/", ".", "/dev/by-id"];

    private static readonly string[] Numbers = ["0", "1", "63", "2048", "4096", "8192", "16384", "16385", "18014398509481983", "9223372036854775807", "18446744073709551616", "-1", ""];

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Random_descriptors_open_or_are_refused_in_a_sentence(int seed)
    {
        var random = new Random(seed);
        var bench = RawBench.Mbr();
        await bench.CreateAsync("1,6r");
        bench.Provider.AddLink("/dev/by-id", RawBench.Disk);
        var good = Encoding.Latin1.GetString(bench.Provider[RawBench.Image]);
        var disk = (byte[])bench.Content.Clone();
        var (opened, refused) = (0, 0);
        for (var round = 0; round < 1500; round++)
        {
            bench.Provider[RawBench.Image] = Encoding.Latin1.GetBytes(round % 2 == 0 ? Mutated(good, random) : Composed(good, random));
            try
            {
                await using var chain = await bench.OpenAsync(readOnly: random.Next(2) == 0, dropHiddenWrites: random.Next(2) == 0);
                opened++;
                if (chain.Length > 0)
                {
                    await chain.MapAsync(0, chain.Length);
                    await chain.ReadAsync(chain.Length - 1, new byte[1]);
                }
            }
            catch (DiskException e)
            {
                refused++;
                Assert.DoesNotContain(e.Message, char.IsControl);
                Assert.InRange(e.Message.Length, 10, 10_000);
            }
        }

        Assert.InRange(opened, 20, 1480);
        Assert.InRange(refused, 20, 1480);
        Assert.Equal(disk, bench.Content);
    }

    private static string Composed(string good, Random random)
    {
        var text = new StringBuilder("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"partitionedDevice\"\n");
        for (var i = random.Next(1, 5); i > 0; i--)
        {
            var access = Pick(["RW", "RW", "RDONLY", "NOACCESS"]);
            var line = random.Next(4) == 0 ? $"{access} {Pick(Numbers[1..7])} ZERO " : $"{access} {Number()} FLAT \"{(random.Next(3) == 0 ? Pick(Names) : Names[random.Next(5)])}\" {Number()}";
            text.Append(line).Append(random.Next(2) == 0 ? "\n" : "\r\n");
        }

        foreach (var key in good.Split('\n').Where(static l => l.Contains("blockmount", StringComparison.Ordinal)))
        {
            text.Append(random.Next(8) == 0 ? $"{key[..(key.IndexOf('=', StringComparison.Ordinal) + 1)]}\"{Pick(random.Next(2) == 0 ? Names : Numbers)}\"" : random.Next(2) == 0 ? "" : key).Append('\n');
        }

        return text.ToString();

        string Number() => random.Next(6) == 0 ? Pick(Numbers) : Numbers[random.Next(1, 6)];

        string Pick(string[] from) => from[random.Next(from.Length)];
    }

    private static string Mutated(string good, Random random)
    {
        var text = good.ToCharArray();
        for (var i = random.Next(1, 4); i > 0; i--)
        {
            text[random.Next(text.Length)] = random.Next(3) == 0 ? (char)random.Next(256) : good[random.Next(good.Length)];
        }

        return new(text);
    }
}
