namespace BlockMount.Nbd.Tls;

/// <summary>What becomes of TLS on connections over a network ("TLS support": NOTLS, SELECTIVETLS for every export alike, FORCEDTLS).</summary>
public enum NbdTlsMode
{
    /// <summary>NBD_OPT_STARTTLS is refused.</summary>
    Off,

    /// <summary>A client may start TLS.</summary>
    On,

    /// <summary>A client learns nothing and gets nothing before it has started TLS.</summary>
    Require,
}
