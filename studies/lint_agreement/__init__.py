"""Whether ``tdss lint`` and ``tdss prove`` agree, on graphs whose right answers are known and on files of other people."""
