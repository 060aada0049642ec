using BlockMount.Core.Devices;
using BlockMount.Nbd;

namespace BlockMount.Host.Hosting;

/// <summary>An export of an open image: the whole, or one of its partitions, with counters of its own.</summary>
/// <param name="Meter">What clients read and write; closing that of the whole image closes the image.</param>
/// <param name="Export">What clients ask for.</param>
internal sealed record ServedExport(MeterDevice Meter, NbdExport Export);
