using System.Globalization;
using System.Text;
using BlockMount.Host.Cli;
using BlockMount.Nbd.Statistics;

namespace BlockMount.Host.Hosting;

/// <summary>Numbers as Prometheus reads them (text exposition format 0.0.4).</summary>
internal sealed class MetricsText
{
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";

    // Powers of two of nanoseconds, from 1 microsecond to 17 seconds.
    private const int ShortestBucket = 10;
    private const int LongestBucket = 34;
    private const int BucketStep = 2;

    private static readonly (NbdOperation Operation, string Name)[] s_operations =
    [
        (NbdOperation.Read, "read"), (NbdOperation.Write, "write"), (NbdOperation.Zero, "zero"), (NbdOperation.Trim, "trim"),
        (NbdOperation.Flush, "flush"), (NbdOperation.Cache, "cache"), (NbdOperation.Status, "status"), (NbdOperation.Other, "other"),
    ];

    private readonly StringBuilder _text = new();

    /// <summary>Every kind of request, with its name.</summary>
    public static IReadOnlyList<(NbdOperation Operation, string Name)> Operations => s_operations;

    public override string ToString() => _text.ToString();

    /// <summary>What the requests of exports were and how long they took.</summary>
    public void Exports(IReadOnlyList<(string Name, NbdTraffic Traffic)> exports) =>
        Traffic("blockmount_export", "export", [.. exports.Select(static e => (Label("export", e.Name), e.Traffic))], histograms: true);

    /// <summary>Sizes of the images of chains.</summary>
    public void Images(IEnumerable<(string Export, IReadOnlyList<LayerFacts> Images)> chains)
    {
        var images = chains.SelectMany(static c => c.Images, static (c, i) => (Labels: $"{Label("export", c.Export)},{Label("image", i.Path)}", Facts: i)).ToArray();
        Several("blockmount_image_allocated_bytes", "gauge", "Disk content that an image of a chain holds itself.", images.Select(static i => (i.Labels, (double)i.Facts.Allocated)));
        Several("blockmount_image_file_bytes", "gauge", "Length of the image's files.", images.Select(static i => (i.Labels, (double)i.Facts.FileSize)));
    }

    /// <summary>What an export's, or a client's, requests were and how long they took.</summary>
    /// <param name="prefix">Of the names of the metrics: <c>blockmount_export</c>.</param>
    /// <param name="what">What the metrics are about, for their help.</param>
    /// <param name="all">Labels, and the sums.</param>
    /// <param name="histograms">Whether latencies are told in buckets as well.</param>
    public void Traffic(string prefix, string what, IReadOnlyList<(string Labels, NbdTraffic Traffic)> all, bool histograms)
    {
        Counter(prefix + "_requests_total", $"Requests answered, by {what} and kind.", static c => c.Count);
        Counter(prefix + "_errors_total", $"Requests answered with an error, by {what} and kind.", static c => c.Errors);
        Counter(prefix + "_bytes_total", $"Bytes of the requests that succeeded, by {what} and kind.", static c => c.Bytes);
        Head(prefix + "_requests_in_flight", "gauge", $"Requests that wait for the disk, by {what}.");
        foreach (var (labels, traffic) in all)
        {
            Line(prefix + "_requests_in_flight", labels, traffic.InFlight);
        }

        if (histograms)
        {
            Histograms(prefix + "_request_seconds", what, all);
        }

        void Counter(string name, string help, Func<NbdOperationCounts, long> value)
        {
            Head(name, "counter", help);
            foreach (var (labels, traffic) in all)
            {
                foreach (var (operation, kind) in s_operations)
                {
                    Line(name, $"{labels},kind=\"{kind}\"", value(traffic[operation]));
                }
            }
        }
    }

    /// <summary>One number.</summary>
    public void Single(string name, string type, string help, double value)
    {
        Head(name, type, help);
        Line(name, string.Empty, value);
    }

    /// <summary>One number for each of several things.</summary>
    public void Several(string name, string type, string help, IEnumerable<(string Labels, double Value)> values)
    {
        Head(name, type, help);
        foreach (var (labels, value) in values)
        {
            Line(name, labels, value);
        }
    }

    /// <summary>Memory and garbage collection of this process.</summary>
    public void Process()
    {
        using var process = System.Diagnostics.Process.GetCurrentProcess();
        Single("process_resident_memory_bytes", "gauge", "Memory that the process has.", process.WorkingSet64);
        Single("process_cpu_seconds_total", "counter", "Processor time.", process.TotalProcessorTime.TotalSeconds);
        Single("process_threads", "gauge", "Threads.", process.Threads.Count);
        Single("dotnet_gc_heap_bytes", "gauge", "Memory of objects that are managed.", GC.GetTotalMemory(forceFullCollection: false));
        Single("dotnet_gc_allocated_bytes_total", "counter", "Memory that was ever given to objects.", GC.GetTotalAllocatedBytes());
        Several(
            "dotnet_gc_collections_total", "counter", "Collections, by generation.",
            Enumerable.Range(0, GC.MaxGeneration + 1).Select(static g => ($"generation=\"{g}\"", (double)GC.CollectionCount(g))));
        Single("dotnet_gc_pause_seconds_total", "counter", "Time for which collections have stopped all else.", GC.GetTotalPauseDuration().TotalSeconds);
    }

    /// <summary>A label with any text for its value.</summary>
    public static string Label(string name, string value) =>
        $"{name}=\"{value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal)}\"";

    private void Histograms(string name, string what, IReadOnlyList<(string Labels, NbdTraffic Traffic)> all)
    {
        Head(name, "histogram", $"From when a request was taken to when its answer was ready, by {what} and kind.");
        foreach (var (labels, traffic) in all)
        {
            foreach (var (operation, kind) in s_operations)
            {
                var counts = traffic[operation];
                var labelled = $"{labels},kind=\"{kind}\"";
                for (var exponent = ShortestBucket; exponent <= LongestBucket; exponent += BucketStep)
                {
                    Line(name + "_bucket", $"{labelled},le=\"{Seconds(1L << exponent)}\"", counts.FasterThan(exponent));
                }

                Line(name + "_bucket", labelled + ",le=\"+Inf\"", counts.Count);
                Line(name + "_sum", labelled, counts.Nanoseconds / 1e9);
                Line(name + "_count", labelled, counts.Count);
            }
        }
    }

    private static string Seconds(long nanoseconds) => (nanoseconds / 1e9).ToString("R", CultureInfo.InvariantCulture);

    private void Head(string name, string type, string help) => _text.Append(CultureInfo.InvariantCulture, $"# HELP {name} {help}\n# TYPE {name} {type}\n");

    private void Line(string name, string labels, double value)
    {
        _text.Append(name);
        if (labels.Length > 0)
        {
            _text.Append('{').Append(labels).Append('}');
        }

        _text.Append(' ').Append(value.ToString("R", CultureInfo.InvariantCulture)).Append('\n');
    }
}
